"""Scores equal those of Sentence Transformers 6.2's CrossEncoder, on files of either side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from torch import nn

from sightline.models.reranker import Reranker
from support import tiny_rerankers
from support.model_facts import ModelFact
from support.tiny_rerankers import PAIRS, bert_scores


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5
    assert theirs.std() > 1e-2, "scores that hardly differ would agree whatever they are"


def loaded(folder: Path) -> tuple[Reranker, CrossEncoder]:
    return Reranker.from_pretrained(folder, device="cpu"), CrossEncoder(str(folder), device="cpu")


@pytest.mark.models
@pytest.mark.parametrize("name", ["bert_scores", "modernbert_scores", "qwen3_scores"])
def test_bare_checkpoints_both_ways(name: str, tmp_path: Path, model_fact: ModelFact) -> None:
    ours, theirs = loaded(getattr(tiny_rerankers, name)(tmp_path / "bare"))
    wanted = theirs.predict(PAIRS)
    near(ours.predict(PAIRS), wanted)
    near(ours.predict(PAIRS, token_budget=200), wanted)
    near(ours.predict(PAIRS, prompt="query: "), theirs.predict(PAIRS, prompt="query: "))
    near(ours.predict(PAIRS, activation=nn.Identity()), theirs.predict(PAIRS, activation_fn=nn.Identity()))
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        we_read, they_read = loaded(folder)
        near(we_read.predict(PAIRS), wanted)
        near(they_read.predict(PAIRS), wanted)
        assert we_read.max_tokens == ours.max_tokens == theirs.max_seq_length
    architecture = {"bert_scores": "BERT", "modernbert_scores": "ModernBERT", "qwen3_scores": "Qwen3"}[name]
    model_fact(architecture, "text", "loads", "saves", "agrees", task="reranking")


def test_several_labels(tmp_path: Path) -> None:
    ours, theirs = loaded(bert_scores(tmp_path / "bare", labels=3))
    near(ours.predict(PAIRS), theirs.predict(PAIRS))
    softened = ours.predict(PAIRS, activation=lambda scores: scores.softmax(-1))
    near(softened, theirs.predict(PAIRS, apply_softmax=True))


def test_rank(tmp_path: Path) -> None:
    ours, theirs = loaded(bert_scores(tmp_path / "bare"))
    query, documents = "revenue by region", [document for _, document in PAIRS[:6]]
    for options in ({}, {"top_k": 3}, {"return_documents": True}):
        found, wanted = ours.rank(query, documents, **options), theirs.rank(query, documents, **options)
        assert [one.keys() for one in found] == [one.keys() for one in wanted]
        assert [one["corpus_id"] for one in found] == [one["corpus_id"] for one in wanted]
        assert [one.get("text") for one in found] == [one.get("text") for one in wanted]
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in wanted], abs=1e-5)


def _at_the_model(folder: Path) -> None:
    theirs = CrossEncoder(str(folder), device="cpu", activation_fn=nn.Tanh())
    theirs.save_pretrained(str(folder))


def _in_the_config(key: str, value: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return write


TANH = "torch.nn.modules.activation.Tanh"
SPELLINGS = {
    "ST 6": _at_the_model,
    "ST 4": _in_the_config("sentence_transformers", {"activation_fn": TANH, "version": "4.1.0"}),
    "ST 2": _in_the_config("sbert_ce_default_activation_function", TANH),
}


@pytest.mark.parametrize("release", SPELLINGS)
def test_the_activation_of_every_release(release: str, tmp_path: Path) -> None:
    folder = bert_scores(tmp_path / "bare")
    SPELLINGS[release](folder)
    ours, theirs = loaded(folder)
    assert isinstance(ours.activation, nn.Tanh)
    near(ours.predict(PAIRS), theirs.predict(PAIRS))
    ours.save_pretrained(tmp_path / "saved")
    again = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert again["sentence_transformers"] == {"activation_fn": TANH}, "where ST 4 and 5 look for it"
    near(loaded(tmp_path / "saved")[1].predict(PAIRS), theirs.predict(PAIRS))


def test_prompts_and_length_limit_are_kept(tmp_path: Path) -> None:
    prompts = {"question": "Question: "}
    theirs = CrossEncoder(
        str(bert_scores(tmp_path / "bare")), device="cpu", max_length=20, prompts=prompts,
        default_prompt_name="question",
    )  # fmt: skip
    wanted = theirs.predict(PAIRS)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = Reranker.from_pretrained(tmp_path / "theirs", device="cpu")
    assert (ours.prompts, ours.max_tokens) == (prompts, 20)
    near(ours.predict(PAIRS), wanted)
    near(ours.predict(PAIRS, prompt=""), theirs.predict(PAIRS, prompt=""))
    ours.save_pretrained(tmp_path / "ours")
    near(CrossEncoder(str(tmp_path / "ours"), device="cpu").predict(PAIRS), wanted)
