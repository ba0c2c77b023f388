"""Which checkpoints are rerankers, and which are refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import nn

from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support.tiny_rerankers import PAIRS, bert_scores, qwen3_scores

TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"


def change(path: Path, **facts: Any) -> None:
    """Changes entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def load(folder: Path, **options: Any) -> Reranker:
    return Reranker.from_pretrained(folder, device="cpu", **options)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return bert_scores(tmp_path / "bare")


@pytest.fixture
def saved(bare: Path, tmp_path: Path) -> Path:
    load(bare).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


# A head of its own


def test_a_new_head_is_put_on_an_encoder_and_the_log_says_so(
    tiny: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="sightline"):
        reranker = load(tiny("bert"), num_labels=2)
    assert "random until it is trained" in caplog.text
    assert reranker.predict(PAIRS).shape == (len(PAIRS), 2)
    assert load(tiny("bert")).num_labels == 1


def test_a_new_head_is_put_on_an_embedding_model(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(
        tiny("bert"), device="cpu", prompts={"q": "query: "}, default_prompt_name="q",
        processor_kwargs={"model_max_length": 40},
    )  # fmt: skip
    encoder.save_pretrained(tmp_path / "encoder")
    reranker = load(tmp_path / "encoder")
    assert reranker.prompts == {}, "an embedder's prompts are not a reranker's"
    assert reranker.max_tokens == 40
    body = encoder.backbones()[""].model.state_dict()
    found = reranker.backbone.model.base_model.state_dict()
    assert all(found[name].equal(value) for name, value in body.items() if "pooler" not in name)


def test_a_checkpoint_that_lacks_a_weight_is_refused(bare: Path) -> None:
    weights = load_file(bare / "model.safetensors")
    for name in ("classifier.weight", "bert.encoder.layer.1.output.dense.weight", "bert.pooler.dense.bias"):
        save_file(
            {key: value for key, value in weights.items() if key != name}, bare / "model.safetensors",
            metadata={"format": "pt"},
        )  # fmt: skip
        with pytest.raises(
            CheckpointError, match=rf"1 of the model's weights .*{name}.* scores would be random"
        ):
            load(bare)


def test_another_number_of_labels_than_the_head_has_is_refused(bare: Path) -> None:
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        load(bare, num_labels=3)


# Other kinds


def test_a_language_model_is_refused(tiny: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match="Qwen3ForCausalLM is a language model"):
        load(tiny("qwen3"))


@pytest.mark.parametrize("task", ["text-generation", "any-to-any", "feature-extraction"])
def test_a_reranker_made_for_another_task_is_refused(task: str, saved: Path) -> None:
    change(saved / "sentence_bert_config.json", transformer_task=task)
    with pytest.raises(CheckpointError, match=f"a reranker made for the task '{task}'"):
        load(saved)


def test_a_reranker_with_parts_on_top_is_refused(saved: Path) -> None:
    listed = [
        {"idx": 0, "name": "0", "path": "", "type": TRANSFORMER},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    (saved / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match="with Pooling, Dense on top"):
        load(saved)


def test_a_class_from_outside_is_refused(saved: Path) -> None:
    (saved / "modules.json").write_text(json.dumps([{"path": "", "type": "my_code.Transformer"}]))
    with pytest.raises(CheckpointError, match="code named in a checkpoint is never run"):
        load(saved)


def test_a_chat_template_is_refused(tmp_path: Path) -> None:
    folder = qwen3_scores(tmp_path / "qwen3")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(CheckpointError, match="puts its pairs into a chat template"):
        load(folder)


def test_what_has_no_such_head_in_transformers_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        load(tiny("clip"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load(tmp_path / "empty")


def test_an_encoder_is_not_read_from_a_reranker(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="made for the task 'sequence-classification'"):
        Encoder.from_pretrained(saved, device="cpu")


# Activations


def test_an_activation_outside_the_table_is_refused_unless_one_is_given(saved: Path, bare: Path) -> None:
    change(saved / "config_sentence_transformers.json", activation_fn="my_code.Sharpen")
    change(bare / "config.json", sentence_transformers={"activation_fn": "torch.load"})
    for folder in (saved, bare):
        with pytest.raises(CheckpointError, match=r"unknown activation .* never run"):
            load(folder)
        assert isinstance(load(folder, activation=nn.Identity()).activation, nn.Identity)


def test_a_decoder_learns_of_its_tokenizers_padding(tmp_path: Path) -> None:
    """Without it transformers refuses to score two pairs at once."""
    folder = qwen3_scores(tmp_path / "qwen3")
    wanted = load(folder).predict(PAIRS)
    change(folder / "config.json", pad_token_id=None)
    assert load(folder).predict(PAIRS).tolist() == wanted.tolist()
