"""Scores of every head equal those of Sentence Transformers 6.2's CrossEncoder, on files of either side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
from torch import nn

from sightline.checkpoint.presets import PRESETS
from sightline.models.reranker import Reranker
from support import st_reranker_oracle
from support.tiny_answers import USERS_ONLY, qwen3_answers, qwen3_vl_answers
from support.tiny_models import bert
from support.tiny_rerankers import PAIRS, bert_scores, qwen3_scores
from support.torchvision_folder import torchvision_folder

ASKED = {"chat_template": {"add_generation_prompt": True}}
PROMPT = "Find what answers the question."


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5
    assert theirs.std() > 1e-2, "scores that hardly differ would agree whatever they are"


def load(folder: Path, **options: Any) -> Reranker:
    return Reranker.from_pretrained(folder, device="cpu", **options)


def both_ways(ours: Reranker, theirs: CrossEncoder, work: Path) -> None:
    """Both libraries give the same scores, each also of what the other saved."""
    wanted, prompted = theirs.predict(PAIRS), theirs.predict(PAIRS, prompt=PROMPT)
    assert np.abs(wanted - prompted).max() > 1e-3, "the prompt has an effect"
    near(ours.predict(PAIRS), wanted)
    near(ours.predict(PAIRS, prompt=PROMPT), prompted)
    ours.save_pretrained(work / "ours")
    theirs.save_pretrained(str(work / "theirs"))
    for name in ("ours", "theirs"):
        we_read, they_read = load(work / name), CrossEncoder(str(work / name), device="cpu")
        for model in (we_read, they_read):
            near(model.predict(PAIRS), wanted)
            near(model.predict(PAIRS, prompt=PROMPT), prompted)
        assert we_read.max_tokens == they_read.max_seq_length == theirs.max_seq_length
        assert type(we_read.activation) is type(theirs.activation_fn)


def st_answers(folder: Path, words: tuple[str, ...] = ("yes", "no"), **options: Any) -> CrossEncoder:
    body = Transformer(str(folder), transformer_task="text-generation", processing_kwargs=ASKED, **options)
    tokens = [body.tokenizer.convert_tokens_to_ids(word) for word in words]
    return CrossEncoder(modules=[body, LogitScore(*tokens)], device="cpu")


# A language model's answer


def test_a_template_that_carries_a_pair(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare")
    both_ways(load(folder), st_answers(folder), tmp_path)


def test_pairs_were_cut_and_their_closing_tokens_kept(tmp_path: Path) -> None:
    """Else the test above would not say that both sides cut alike."""
    model = load(qwen3_answers(tmp_path / "bare"))
    tokenizer = model.backbone.processor.tokenizer
    assert tokenizer is not None
    assert max(len(tokenizer(" ".join(pair))["input_ids"]) for pair in PAIRS) > model.max_tokens == 160


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str, tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare", template=USERS_ONLY, limit=480)
    ours = load(folder, preset=name)
    theirs = st_answers(folder, processor_kwargs={"chat_template": PRESETS[name].template(USERS_ONLY)})
    both_ways(ours, theirs, tmp_path)


def test_a_model_without_a_template_reads_the_texts_joined(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare", template=None)
    both_ways(load(folder), CrossEncoder(str(folder), device="cpu"), tmp_path)


def test_a_single_word(tmp_path: Path) -> None:
    theirs = st_answers(qwen3_answers(tmp_path / "bare"), ("yes",))
    theirs.save_pretrained(str(tmp_path / "theirs"))
    facts = json.loads((tmp_path / "theirs" / "1_LogitScore" / "config.json").read_text())
    assert facts["false_token_id"] is None
    both_ways(load(tmp_path / "theirs"), theirs, tmp_path)


def test_prompts_are_kept(tmp_path: Path) -> None:
    theirs = st_answers(qwen3_answers(tmp_path / "bare"))
    theirs.prompts, theirs.default_prompt_name = {"seals": "Which text is about seals?"}, "seals"
    wanted = theirs.predict(PAIRS)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = load(tmp_path / "theirs")
    near(ours.predict(PAIRS), wanted)
    near(ours.predict(PAIRS, prompt=""), theirs.predict(PAIRS, prompt=""))
    ours.save_pretrained(tmp_path / "ours")
    near(CrossEncoder(str(tmp_path / "ours"), device="cpu").predict(PAIRS), wanted)


# Pooling and a linear layer


def test_an_encoder_with_several_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = Dense(32, 3, activation_function=nn.Identity(), module_output_name="scores")
    body = Transformer(str(bert(tmp_path / "bare")))
    theirs = CrossEncoder(modules=[body, Pooling(32, pooling_mode="mean"), head], device="cpu")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    both_ways(load(tmp_path / "theirs"), theirs, tmp_path)


def test_an_encoder_with_more_layers_in_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = [
        Transformer(str(bert_scores(tmp_path / "bare"))),
        Pooling(32, pooling_mode="cls"),
        Dense(32, 32, bias=False, activation_function=nn.GELU()),
        LayerNorm(32),
        Dense(32, 1, activation_function=nn.Identity(), module_output_name="scores"),
    ]
    theirs = CrossEncoder(modules=parts, device="cpu", activation_fn=nn.Identity())
    theirs.save_pretrained(str(tmp_path / "theirs"))
    both_ways(load(tmp_path / "theirs"), theirs, tmp_path)


def test_a_language_model_that_is_pooled(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "bare")
    ours = load(folder, head="pooled")
    both_ways(ours, _saved_by_st(ours, tmp_path), tmp_path)


def _saved_by_st(ours: Reranker, work: Path) -> CrossEncoder:
    ours.save_pretrained(work / "first")
    return CrossEncoder(str(work / "first"), device="cpu")


# Sequence classification


def test_a_classifier_with_a_template(tmp_path: Path) -> None:
    folder = qwen3_scores(tmp_path / "bare", limit=480)
    (folder / "chat_template.jinja").write_text(PRESETS["qwen3-reranker"].template(None))
    both_ways(load(folder), CrossEncoder(str(folder), device="cpu"), tmp_path)


def test_a_new_pooled_head_is_read_by_st(tmp_path: Path) -> None:
    folder = bert_scores(tmp_path / "bare")
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace("BertForSequenceClassification", "BertModel")
    )
    torch.manual_seed(0)
    ours = load(folder, head="pooled", num_labels=2)
    near(_saved_by_st(ours, tmp_path).predict(PAIRS), ours.predict(PAIRS))


# Qwen3-VL, through the oracle


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the oracle wrote; see `st_reranker_oracle`."""
    work = tmp_path_factory.mktemp("oracle")
    bare = qwen3_vl_answers(work / "bare")
    load(bare).save_pretrained(work / "answer")
    load(bare, head="pooled").save_pretrained(work / "pooled")
    load(bare, preset="qwen3-vl-reranker").save_pretrained(work / "preset")
    done = subprocess.run(
        [sys.executable, st_reranker_oracle.__file__, torchvision_folder(), str(work)],
        capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return work


@pytest.mark.parametrize("name", ["answer", "pooled", "preset", "theirs-answer", "theirs-pooled"])
def test_qwen3_vl_on_pairs_of_text_and_images(
    name: str, oracle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(st_reranker_oracle.__file__).parent))
    wanted = np.load(oracle / f"{name}.npz")
    found = st_reranker_oracle.scored(load(oracle / name, processor_kwargs={"backend": "pil"}))
    assert found.keys() == set(wanted.files)
    for key, values in found.items():
        assert np.abs(values - wanted[key]).max() <= 1e-5, key
    everything = np.concatenate([wanted[key] for key in wanted.files])
    assert everything.std() > 1e-2
