"""What is saved is read again before it takes its place: faithful models pass, and every kind of loss is named."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sightline.checkpoint.layout import ModelFacts
from sightline.checkpoint.write import write_checkpoint
from sightline.errors import CheckpointError
from sightline.models import verify
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.modules.heads import Dense
from sightline.modules.router import Router, RoutingTable
from support import tiny_rerankers

TinyEncoder = Callable[[str], Encoder]


@pytest.fixture
def encoder(tiny_encoder: TinyEncoder) -> Encoder:
    """A text model with a head and prompts of its own."""
    torch.manual_seed(3)
    parts = [*copy.deepcopy(list(tiny_encoder("bert").parts)), Dense(32, 12)]
    return Encoder(parts, prompts={"query": "find: "}, similarity_fn_name="dot")  # type: ignore[arg-type]


def edited(path: Path, **facts: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def scaled(path: Path, factor: float) -> None:
    save_file(
        {name: value * factor for name, value in load_file(path).items()}, path, metadata={"format": "pt"}
    )


@pytest.mark.parametrize("name", ["bert", "qwen3", "qwen3_vl", "vit", "clip"])
def test_faithful_models_pass(name: str, tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    tiny_encoder(name).save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "modules.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_every_modality_and_both_roles_are_asked(tiny_encoder: TinyEncoder) -> None:
    from sightline.models.probes import encoder_probes

    encoder = tiny_encoder("qwen3_vl")
    asked = {probe.name for probe in encoder_probes(encoder)}
    wanted = {name for name in encoder.modalities if name != "message"} | {"image with text"}
    assert {f"{name} as {role}" for name in wanted for role in ("query", "document")} <= asked
    assert {"a large text as query", "a large image as document"} <= asked


LOSSES: dict[str, tuple[Callable[[Path], None], str]] = {
    "other weights of the head": (
        lambda folder: scaled(folder / "2_Dense" / "model.safetensors", 1.01),
        "vectors for text as query differ by 0.0",
    ),
    "other weights of the backbone": (
        lambda folder: scaled(folder / "model.safetensors", 0.9),
        "vectors for text as query differ by",
    ),
    "the head is not listed": (
        lambda folder: (folder / "modules.json").write_text(
            json.dumps(json.loads((folder / "modules.json").read_text())[:2])
        ),
        "embedding_dim is 32 instead of 12",
    ),
    "another pooling": (
        lambda folder: edited(
            folder / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True
        ),
        "vectors for text as query differ by",
    ),
    "a prompt is lost": (
        lambda folder: edited(folder / "config_sentence_transformers.json", prompts={}),
        "prompts is {} instead of {'query': 'find: '}",
    ),
    "another similarity": (
        lambda folder: edited(folder / "config_sentence_transformers.json", similarity_fn_name="cosine"),
        "similarity_fn_name is 'cosine' instead of 'dot'",
    ),
    "another limit of tokens": (
        lambda folder: edited(folder / "sentence_bert_config.json", max_seq_length=60),
        "for a large text as query input_ids of shape (60,) instead of (64,)",
    ),
    "weights cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:-100]
        ),
        "it cannot be read again",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_named(loss: str, encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    facts = ModelFacts(prompts=encoder.prompts, similarity_fn_name="dot")
    verify.check_encoder(encoder, facts, tmp_path)
    spoil, words = LOSSES[loss]
    spoil(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        verify.check_encoder(encoder, facts, tmp_path)
    assert words in str(caught.value)


def test_a_lost_limit_of_pixels_is_named(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder = tiny_encoder("qwen3_vl")
    encoder.save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (tmp_path / name).is_file():
            text = (tmp_path / name).read_text()
            assert '"longest_edge": 3136' in text
            (tmp_path / name).write_text(text.replace('"longest_edge": 3136', '"longest_edge": 313600'))
    with pytest.raises(CheckpointError, match="for a large image as query"):
        verify.check_encoder(encoder, ModelFacts(similarity_fn_name="cosine"), tmp_path)


def test_a_refused_model_leaves_the_folder_as_it_was(encoder: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    encoder.save_pretrained(folder, card="# The first")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = Encoder([*encoder.parts], prompts={"query": "q "})  # type: ignore[list-item]

    def refuse(_: Path) -> None:
        raise CheckpointError("a reason")

    for _ in range(2):  # a second refusal takes the place of the first
        with pytest.raises(
            CheckpointError, match=r"not saved, .*: a reason\. .*model\.refused; verify=False"
        ):
            write_checkpoint(folder, list(other.parts), ModelFacts(), card="# The second", check=refuse)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert (tmp_path / "model.refused" / "README.md").read_text() == "# The second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.refused"]


def test_saving_checks_unless_told_otherwise(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A writer that forgets the head's weights, as a bug would.
    from sightline.checkpoint import write

    real = write._write_weights

    def forgetful(part: Any, folder: Path) -> None:
        real(part, folder)
        scaled(folder / "model.safetensors", 0.0)

    monkeypatch.setattr(write, "_write_weights", forgetful)
    with pytest.raises(
        CheckpointError, match="not the model in memory: read again, its vectors for text as query"
    ):
        encoder.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    encoder.save_pretrained(tmp_path / "model", verify=False)
    assert (tmp_path / "model").is_dir()


def test_checking_leaves_modes_and_random_numbers_alone(encoder: Encoder, tmp_path: Path) -> None:
    encoder.train()
    encoder.parts[1].eval()
    modes = {name: module.training for name, module in encoder.named_modules()}
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    encoder.save_pretrained(tmp_path)
    assert torch.equal(torch.rand(3), wanted)
    assert {name: module.training for name, module in encoder.named_modules()} == modes
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert all(value.requires_grad for value in encoder.parameters())


def test_half_precision_and_a_cut_dimension_pass(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", dtype="bfloat16")
    encoder.save_pretrained(tmp_path, truncate_dim=16)
    assert Encoder.from_pretrained(tmp_path, device="cpu").truncate_dim == 16


def test_a_role_the_router_does_not_take_is_not_asked(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    parts = copy.deepcopy(list(tiny_encoder("bert").parts))
    encoder = Encoder([Router({"query": parts}, RoutingTable(("query",)))])  # type: ignore[dict-item]
    encoder.save_pretrained(tmp_path / "model")
    scaled(next((tmp_path / "model").rglob("model.safetensors")), 0.9)
    with pytest.raises(CheckpointError, match="text as query differ"):
        verify.check_encoder(encoder, ModelFacts(similarity_fn_name="cosine"), tmp_path / "model")


def test_without_memory_for_a_copy_a_warning_says_so(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verify, "free_bytes", lambda _: 1_000_000)
    monkeypatch.setattr(logging.getLogger("sightline"), "propagate", True)
    encoder.save_pretrained(tmp_path / "model")
    assert "saved without being checked: a second copy of the model needs 0.5 GB" in caplog.text
    assert (tmp_path / "model").is_dir()


def test_without_memory_for_the_questions_it_is_saved_all_the_same(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(encoder, "encode", full)
    monkeypatch.setattr(logging.getLogger("sightline"), "propagate", True)
    encoder.save_pretrained(tmp_path / "model")
    assert "saved without being checked: there was no memory" in caplog.text
    assert (tmp_path / "model" / "modules.json").is_file()


def test_rerankers(tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(
        tiny_rerankers.bert_scores(tmp_path / "bare"), device="cpu", prompts={"ask": "Ask: "},
        default_prompt_name="ask",
    )  # fmt: skip
    reranker.save_pretrained(tmp_path / "model")
    facts = ModelFacts(prompts=reranker.prompts, default_prompt_name="ask")
    verify.check_reranker(reranker, facts, tmp_path / "model")
    scaled(tmp_path / "model" / "model.safetensors", 0.9)
    with pytest.raises(CheckpointError, match="its scores for a text with text differ by"):
        verify.check_reranker(reranker, facts, tmp_path / "model")


def test_a_pooled_reranker_in_half_precision_passes(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(
        tiny("qwen3"),
        device="cpu",
        dtype="bfloat16",
        head="pooled",
        answers=("1", "0"),
        preset="qwen3-reranker",
    )
    reranker.save_pretrained(tmp_path / "model")
    loaded = Reranker.from_pretrained(tmp_path / "model", device="cpu", dtype="bfloat16")
    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}
    pairs = [("costs", "a table"), ("pump", "a seal")]
    assert loaded.predict(pairs).tolist() == pytest.approx(reranker.predict(pairs).tolist(), abs=1e-2)


def test_a_number_lost_to_nan_is_a_drift() -> None:
    wanted = torch.tensor([0.0, 1.0, torch.nan])
    assert verify._drift(wanted, torch.tensor([0.0, 1.0, torch.nan])) == 0
    assert verify._drift(wanted, torch.tensor([torch.nan, 1.0, torch.nan])) == torch.inf
