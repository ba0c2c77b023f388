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

from sightline.errors import CheckpointError, ConfigError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support.tiny_answers import TEMPLATE, USERS_ONLY, gemma2_answers, qwen3_answers
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


def test_a_language_model_answers_with_the_template_of_its_type(
    tiny: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = qwen3_answers(tmp_path / "users", template=USERS_ONLY, limit=480)
    with caplog.at_level(logging.WARNING, logger="sightline"):
        reranker = load(folder)
    assert (
        "it leaves out the query and the document, so it gets the template of the preset qwen3-reranker"
        in (caplog.text)
    )
    assert reranker.predict(PAIRS).tolist() == load(folder, preset="qwen3-reranker").predict(PAIRS).tolist()


def test_a_chat_model_of_another_type_is_asked_in_its_own_template(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = gemma2_answers(tmp_path / "gemma2", template=USERS_ONLY)
    with caplog.at_level(logging.WARNING, logger="sightline"):
        reranker = load(folder)
    assert "so it gets the template of the preset judge" in caplog.text
    assert reranker.backbone.processor.tokenizer.chat_template.endswith(USERS_ONLY)
    assert reranker.predict(PAIRS).std() > 1e-2


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare", template=USERS_ONLY)
    reranker = load(folder, processor_kwargs={"chat_template": TEMPLATE})
    again = qwen3_answers(tmp_path / "again")
    assert reranker.predict(PAIRS).tolist() == load(again).predict(PAIRS).tolist()


def test_a_language_model_without_a_template_says_that_texts_are_joined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = qwen3_answers(tmp_path / "bare", template=None)
    with caplog.at_level(logging.WARNING, logger="sightline"):
        reranker = load(folder)
    assert "joined without marks; name a preset (qwen3-reranker" in caplog.text
    assert reranker.predict(PAIRS).shape == (len(PAIRS),)


def test_words_of_several_tokens_are_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not know the word 'yes' as one token"):
        load(tiny("qwen3"))
    folder = qwen3_answers(tmp_path / "bare")
    with pytest.raises(CheckpointError, match="'certainly not' as one token"):
        load(folder, answers=("yes", "certainly not"))


def test_a_head_that_does_not_fit_is_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare")
    with pytest.raises(CheckpointError, match="has no language model head"):
        load(tiny("bert"), head="answer")
    with pytest.raises(CheckpointError, match="preset and answers are for language models"):
        load(tiny("bert"), preset="qwen3-reranker")
    with pytest.raises(ConfigError, match="no preset named 'qwen'; there are qwen3-reranker, "):
        load(folder, preset="qwen")
    with pytest.raises(CheckpointError, match="gives 1 scores per pair, not 3"):
        load(folder, num_labels=3)
    load(folder).save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="is a reranker already"):
        load(tmp_path / "saved", head="pooled")


def test_a_language_model_takes_a_classification_head(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare")
    reranker = load(folder, head="classification", num_labels=2)
    assert reranker.predict(PAIRS).shape == (len(PAIRS), 2)


def test_a_capped_head_cannot_be_pooled(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Gemma2ForCausalLM is more than a matrix"):
        load(gemma2_answers(tmp_path / "gemma2"), head="pooled")


@pytest.mark.parametrize("task", ["text-generation", "any-to-any", "feature-extraction", "fill-mask"])
def test_a_reranker_made_for_another_task_is_refused(task: str, saved: Path) -> None:
    change(saved / "sentence_bert_config.json", transformer_task=task)
    with pytest.raises(CheckpointError, match=f"a reranker made for the task '{task}' with nothing on top"):
        load(saved)


def test_a_classifier_with_parts_on_top_is_refused(saved: Path) -> None:
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


def test_a_template_that_cannot_carry_a_pair_is_refused(tmp_path: Path) -> None:
    folder = qwen3_scores(tmp_path / "qwen3")
    (folder / "chat_template.jinja").write_text(USERS_ONLY)
    with pytest.raises(CheckpointError, match="it leaves out the query and the document"):
        load(folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no such role') }}")
    with pytest.raises(CheckpointError, match="it raises TemplateError: no such role"):
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


def test_a_limit_that_the_template_fills_by_itself_is_refused(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare")
    with pytest.raises(
        CheckpointError, match=r"the limit of 90 tokens leaves no room .* the template alone has 1\d\d"
    ):
        load(folder, preset="qwen3-reranker", processor_kwargs={"model_max_length": 90})
