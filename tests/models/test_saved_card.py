"""The card that a model is saved with: what can be seen of it, what the Trainer left with it, and whose card stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from sightline.checkpoint.card import is_sealed, named, sealed
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support import tiny_rerankers

TinyEncoder = Callable[[str], Encoder]


@pytest.fixture
def encoder(tiny: Callable[[str], Path]) -> Encoder:
    return Encoder.from_pretrained(tiny("bert"), device="cpu", prompts={"query": "find: "})


def trained(encoder: Encoder, folder: Path, loss: object = None, *, thing: str = "pump") -> Trainer:
    """Two steps, and an evaluation at two widths after them."""
    rows = [{"question": f"{thing} {number}", "page": f"all of {thing} {number}"} for number in range(8)]
    names = [f"{number}" for number in range(8)]
    args = TrainingArguments(
        output_dir=str(folder), max_steps=2, per_device_train_batch_size=4, dataloader_num_workers=0, report_to=[],
        save_strategy="no", use_cpu=True, disable_tqdm=True, learning_rate=1e-3,
    )  # fmt: skip
    evaluator = RetrievalEvaluator(
        dict(zip(names, [row["question"] for row in rows], strict=True)),
        dict(zip(names, [row["page"] for row in rows], strict=True)),
        {name: [name] for name in names},
        dims=[8],
    )
    loss = loss or Matryoshka(InfoNCE(), dims=(32, 8))
    trainer = Trainer(encoder, loss, train_dataset=rows, args=args, evaluator=evaluator)  # type: ignore[arg-type]
    trainer.train()
    return trainer


def card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_an_untrained_model_tells_what_can_be_seen_of_it(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "model", truncate_dim=16, verify=False)
    text = card(tmp_path / "model")
    assert (
        "made from `bert` with Sightline. It maps text to vectors of 32 dimensions, cut to the first 16"
        in text
    )
    assert "- query: `find: `" in text
    assert "import sightline as sl" in text
    assert "from sentence_transformers import SentenceTransformer" in text
    assert "fine-tuned" not in text
    assert "## Training" not in text
    head = ModelCard(text).data
    assert (head.library_name, head.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    encoder.save_pretrained(tmp_path / "bare", card=False, verify=False)
    assert not (tmp_path / "bare" / "README.md").exists()


def test_a_reranker_has_one_too(tmp_path: Path) -> None:
    folder = tiny_rerankers.bert_scores(tmp_path / "bare")
    Reranker.from_pretrained(folder, device="cpu").save_pretrained(tmp_path / "model", verify=False)
    assert "It scores pairs of a query and a document (text" in card(tmp_path / "model")
    assert "CrossEncoder(" in card(tmp_path / "model")


def test_after_the_trainer_it_tells_of_the_training(encoder: Encoder, tmp_path: Path) -> None:
    trainer = trained(encoder, tmp_path / "run")
    encoder.save_pretrained(tmp_path / "first", verify=False)
    text = card(tmp_path / "first")
    for words in (
        "fine-tuned from `bert` with Sightline on 8 rows",
        "- Loss: `Matryoshka(loss=InfoNCE(",
        "(in Sentence Transformers: MatryoshkaLoss, MultipleNegativesRankingLoss)",
        "with the columns question, page",
        "- Steps: 2",
        "| learning_rate | 0.001 |",
    ):
        assert words in text
    assert "## Results" not in text
    found = trainer.evaluate()
    encoder.save_pretrained(tmp_path / "first", verify=False)  # over a card that nobody has edited
    assert f"| 8 | {found['eval_dim8_ndcg@10']:.4f} |" in card(tmp_path / "first")
    results = ModelCard(card(tmp_path / "first")).data.eval_results or []
    assert {one.metric_name for one in results} >= {"NDCG@10", "NDCG@10 at 8 dimensions"}

    again = Encoder.from_pretrained(tmp_path / "first", device="cpu")
    again.save_pretrained(tmp_path / "second", verify=False)
    assert card(tmp_path / "second") == card(tmp_path / "first")
    trained(again, tmp_path / "run2", InfoNCE(), thing="valve")
    again.save_pretrained(tmp_path / "third", verify=False)
    assert "fine-tuned from `first`" in card(tmp_path / "third")
    assert "MatryoshkaLoss" not in card(tmp_path / "third")


def test_two_trainings_of_one_model_are_both_told(encoder: Encoder, tmp_path: Path) -> None:
    trained(encoder, tmp_path / "run")
    trained(encoder, tmp_path / "run", InfoNCE(temperature=0.1))
    encoder.save_pretrained(tmp_path / "model", verify=False)
    latest, earlier = card(tmp_path / "model").split("## Training before that")
    assert "- Loss: `InfoNCE(temperature=0.1" in latest
    assert "- Loss: `Matryoshka(loss=InfoNCE(" in earlier


def test_a_model_that_was_changed_does_not_keep_the_card_it_came_with(
    encoder: Encoder, tmp_path: Path, tiny: Callable[[str], Path]
) -> None:
    encoder.save_pretrained(tmp_path / "model", card="# By hand\n", verify=False)
    again = Encoder.from_pretrained(tmp_path / "model", device="cpu")
    assert again.brought_card is not None
    assert again.brought_card.text == "# By hand\n"
    again.add_adapter(LoRA(r=2))
    assert again.brought_card is None
    assert Encoder.from_pretrained(tmp_path / "model", device="cpu", multi_vector=True).brought_card is None
    assert Reranker.from_pretrained(tmp_path / "model", device="cpu").brought_card is None
    both = Encoder.from_routes({"text": Encoder.from_pretrained(tmp_path / "model", device="cpu")})
    assert both.brought_card is None


def test_a_card_written_by_hand_stays(
    encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    encoder.save_pretrained(folder, verify=False)
    (folder / "README.md").write_text(card(folder).replace("find: ", "seek: "))
    edited = card(folder)
    with caplog.at_level("INFO", "sightline"):
        encoder.save_pretrained(folder, verify=False)
    assert card(folder) == edited
    assert "README.md stays as it is" in caplog.text
    encoder.save_pretrained(folder, card="# New\n", verify=False)
    assert card(folder) == "# New\n"


def test_a_card_written_by_hand_stays_where_the_model_was_loaded_from(
    encoder: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    encoder.save_pretrained(folder, card="# By hand\n", verify=False)
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(folder)
    again = Encoder.from_pretrained(folder, device="cpu")
    again.save_pretrained(tmp_path / "copy", verify=False)
    assert card(tmp_path / "copy") == "# By hand\n"
    trained(again, tmp_path / "run")
    for place in ("model", "here/../model", "link"):
        again.save_pretrained(tmp_path / place, verify=False)
        assert card(folder) == "# By hand\n"
    # A copy of it elsewhere is no reason not to tell of the training.
    again.save_pretrained(tmp_path / "copy", verify=False)
    assert "fine-tuned from `model`" in card(tmp_path / "copy")


def test_a_run_into_the_folder_of_its_model_leaves_the_card_there(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "model", card="# By hand\n", verify=False)
    again = Encoder.from_pretrained(tmp_path / "model", device="cpu")
    trained(again, tmp_path / "model").create_model_card()
    assert card(tmp_path / "model") == "# By hand\n"


def test_the_seal_breaks_with_any_edit() -> None:
    text = sealed("# A model\n\nLoad it as PATH_OR_NAME.\n")
    assert is_sealed(text)
    assert is_sealed(text.replace("\n", "\r\n").replace("\r\n", "\n") + "\n")
    assert sealed(text) == text
    assert not is_sealed(text.replace("A model", "My model"))
    assert not is_sealed(text + "More of it.\n")
    assert not is_sealed("# A model\n")
    assert is_sealed(named(text, "me/pages"))
    assert "Load it as me/pages." in named(text, "me/pages")
    assert not is_sealed(named("Load PATH_OR_NAME", "me/pages"))
