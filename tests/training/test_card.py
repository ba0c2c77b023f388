"""The model card: YAML that huggingface_hub reads, code that runs, and what a person wants to know."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import sightline.losses
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, MarginMSE
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet
from sightline.models.card_results import SystemResult
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.card import CardFacts, card_of
from sightline.training.st_names import ST_LOSSES, ST_TOKEN_LOSSES, st_loss_names
from sightline.training.trainer import Trainer
from support import tiny_late, tiny_rerankers

RESULTS = [
    SystemResult("bm25", "text", {"full": {"ndcg@10": 0.5, "map": 0.4}}),
    SystemResult("untuned", "image", {"64": {"ndcg@10": 0.61, "map": 0.51}, "16": {"ndcg@10": 0.6}}),
    SystemResult(
        "fine-tuned", "image", {"64": {"ndcg@10": 0.81, "map": 0.7}, "16": {"ndcg@10": 0.8}}, trained=True
    ),
]


@pytest.fixture
def facts(tiny_encoder: Callable[[str], Encoder], tmp_path: Path) -> CardFacts:
    encoder = Encoder(list(tiny_encoder("qwen3_vl").parts), prompts={"query": "Find: ", "document": ""})  # type: ignore[arg-type]
    encoder.name_or_path = "Qwen/Qwen3-VL-Embedding-2B"
    return CardFacts(
        encoder=encoder,
        loss=Matryoshka(InfoNCE(), dims=(64, 32, 16)),
        args=TrainingArguments(output_dir=str(tmp_path), dataloader_num_workers=0),
        columns=("query", "image", "negative_0"),
        train_rows=10_000,
        skipped_rows=2,
        steps=157,
        data="someone/pages",
        fingerprint="0123abcd",
        results=RESULTS,
        measured_on="300 questions over 1,500 pages of someone/pages",
    )


def test_the_head_is_metadata_the_hub_reads(facts: CardFacts) -> None:
    card = ModelCard(card_of(facts)).data
    assert card.pipeline_tag == "feature-extraction"
    assert card.library_name == "sentence-transformers"
    assert card.base_model == "Qwen/Qwen3-VL-Embedding-2B"
    assert card.datasets == ["someone/pages"]
    assert {
        "sightline",
        "multimodal",
        "image",
        "loss:MatryoshkaLoss",
        "loss:MultipleNegativesRankingLoss",
    } <= set(card.tags or [])
    found = {(one.metric_name, one.metric_value) for one in card.eval_results or []}
    assert found == {
        ("NDCG@10 at 64 dimensions (image)", 0.81),
        ("MAP at 64 dimensions (image)", 0.7),
        ("NDCG@10 at 16 dimensions (image)", 0.8),
    }
    assert set(card.metrics or []) == {"ndcg@10", "map"}


def test_the_text_says_data_loss_and_results_beside_baselines(facts: CardFacts) -> None:
    text = card_of(facts)
    for words in (
        "[someone/pages](https://huggingface.co/datasets/someone/pages): 10,000 rows (2 left out",
        "query, image, negative_0",
        "`0123abcd`",
        "in Sentence Transformers: MatryoshkaLoss, MultipleNegativesRankingLoss",
        "| bm25 (text) | full | 0.5000 | 0.4000 |",
        "| untuned (image) | 16 | 0.6000 |  |",
        "| **fine-tuned (image)** | 64 | 0.8100 | 0.7000 |",
        "On 300 questions over 1,500 pages of someone/pages",
        "- query: `Find: `",
    ):
        assert words in text
    # A folder on somebody's disk is named, but is no name on the Hub.
    facts.encoder.name_or_path = "/home/me/models/base"
    local = replace(facts, data="/home/me/pages", measured_on="")
    card = ModelCard(card_of(local))
    assert card.data.base_model is None
    assert card.data.datasets is None
    assert "`pages`: 10,000 rows" in card.text
    assert "/home/me" not in card_of(local)


def programs(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.S)


def test_its_code_runs_with_both_libraries(
    facts: CardFacts, tiny_encoder: Callable[[str], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder("bert")
    text = card_of(replace(facts, encoder=encoder, loss=Matryoshka(InfoNCE(), dims=(32, 16, 8))))
    encoder.save_pretrained(tmp_path / "model", verify=False)
    scores = [_last_value(one.replace("PATH_OR_NAME", str(tmp_path / "model"))) for one in programs(text)]
    assert len(scores) == 2
    assert scores[0].shape == (1, 2)
    assert abs(scores[0].numpy() - scores[1].numpy()).max() < 1e-5


def test_training_notes_the_prefixes_for_whoever_builds_an_index(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    rows = [{"anchor": f"pump {number}", "positive": f"all of pump {number}"} for number in range(4)]
    args = TrainingArguments(output_dir=str(tmp_path), dataloader_num_workers=0, report_to=[])
    two = {"a": Matryoshka(InfoNCE(), dims=(16, 8)), "b": Matryoshka(InfoNCE(), dims=(16, 4))}
    for loss, train, dims in (
        (InfoNCE(), rows, ()),
        (two["a"], rows, (16, 8)),
        (two, {"a": rows, "b": rows}, (16,)),
    ):
        encoder = copy.deepcopy(tiny_encoder("bert"))
        Trainer(encoder, loss, train_dataset=train, args=args)
        assert encoder.trained_dims == dims


def test_rerankers(facts: CardFacts, tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(tiny_rerankers.bert_scores(tmp_path / "bare"), device="cpu")
    text = card_of(replace(facts, encoder=reranker, loss=InfoNCE(), results=RESULTS[2:]))
    card = ModelCard(text).data
    assert card.pipeline_tag == "text-ranking"
    assert {"cross-encoder", "reranker"} <= set(card.tags or [])
    assert {one.task_type for one in card.eval_results or []} == {"reranking"}
    reranker.save_pretrained(tmp_path / "model", card=text, verify=False)
    ours, theirs = (
        _last_value(one.replace("PATH_OR_NAME", str(tmp_path / "model"))) for one in programs(text)
    )
    assert [one["corpus_id"] for one in ours] == [one["corpus_id"] for one in theirs]
    assert abs(ours[0]["score"] - float(theirs[0]["score"])) < 1e-5


def _last_value(program: str) -> Any:
    """Runs a program and gives the value of its last line."""
    tree = ast.parse(program)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(tree, "card", "exec"), names)
    return eval(compile(ast.Expression(last.value), "card", "eval"), names)


def test_every_loss_has_the_name_it_has_in_sentence_transformers() -> None:
    ours = set()
    for module in pkgutil.iter_modules(sightline.losses.__path__):
        for name, kind in vars(importlib.import_module(f"sightline.losses.{module.name}")).items():
            if inspect.isclass(kind) and is_dataclass(kind) and issubclass(kind, Loss) and name[0] != "_":
                ours.add(name)
    theirs = {
        name
        for room in ("sentence_transformer", "cross_encoder", "multi_vector_encoder")
        for name in importlib.import_module(f"sentence_transformers.{room}.losses").__all__
    }
    assert {*ST_LOSSES.values(), *ST_TOKEN_LOSSES.values()} <= theirs
    assert ours - set(ST_LOSSES) == {"Sum", "ByDataset"}  # which ST has none of


def test_names_of_losses_inside_losses() -> None:
    loss = Matryoshka(Sum([InfoNCE(symmetric=True), OrthogonalRegularization()]), dims=(8,))
    assert st_loss_names(loss) == [
        "MatryoshkaLoss", "MultipleNegativesSymmetricRankingLoss", "GlobalOrthogonalRegularizationLoss",
    ]  # fmt: skip
    assert st_loss_names(BatchTriplet("semi-hard")) == ["BatchSemiHardTripletLoss"]
    assert st_loss_names(BatchTriplet("hard", margin=None)) == ["BatchHardSoftMarginTripletLoss"]
    assert st_loss_names(lambda *_: {}) == []


def test_a_late_interaction_model_has_losses_of_its_own_name(
    facts: CardFacts, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = Encoder.from_pretrained(tiny_late.pylate(tmp_path / "bare", tiny("bert")), device="cpu")
    assert encoder.multi_vector
    text = card_of(replace(facts, encoder=encoder, loss=Sum([InfoNCE(), MarginMSE()])))
    named = [tag for tag in ModelCard(text).data.tags or [] if tag.startswith("loss:")]
    assert named == ["loss:MultiVectorMultipleNegativesRankingLoss", "loss:MultiVectorMarginMSELoss"]
    assert st_loss_names(DistillKL(), tokens=True) == ["MultiVectorDistillKLDivLoss"]
    assert st_loss_names(InfoNCE(symmetric=True), tokens=True) == []
