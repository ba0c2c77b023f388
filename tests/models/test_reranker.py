"""Reranker: scores in order whatever the micro-batches, ranking, wrong input, training mode, saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sightline.errors import CheckpointError, ConfigError, InputError
from sightline.inputs.pairs import parse_pair
from sightline.models.reranker import Reranker
from sightline.types import MicroBatch
from support.tiny_rerankers import PAIRS, bert_scores, qwen3_scores

# All pairs of PAIRS but one differ in content.
DISTINCT = len(PAIRS) - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_scores(tmp_path_factory.mktemp("reranker") / "bert")


@pytest.fixture
def reranker(folder: Path) -> Reranker:
    return Reranker.from_pretrained(folder, device="cpu")


def watched(reranker: Reranker) -> list[MicroBatch]:
    """The micro-batches the model gets from now on."""
    seen: list[MicroBatch] = []
    reranker.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    return seen


# Scores


def test_one_score_per_pair_in_order_under_any_budget(reranker: Reranker) -> None:
    alone = np.concatenate([reranker.predict([pair]) for pair in PAIRS])
    assert alone.dtype == np.float32
    assert alone.std() > 1e-2
    for budget in (1, 100, 10_000):
        assert np.abs(reranker.predict(PAIRS, token_budget=budget) - alone).max() <= 1e-6


@pytest.mark.parametrize("make", [bert_scores, qwen3_scores])
def test_padding_changes_no_score(make: type, tmp_path: Path) -> None:
    model = Reranker.from_pretrained(make(tmp_path / "model"), device="cpu")
    seen = watched(model)
    together = model.predict(PAIRS, token_budget=10_000)
    assert len(seen) == 1, "pairs of different length in one pass"
    assert np.abs(together - model.predict(PAIRS, token_budget=1)).max() <= 1e-6


def test_pairs_of_like_length_share_micro_batches_and_equal_ones_are_scored_once(reranker: Reranker) -> None:
    seen = watched(reranker)
    reranker.predict(PAIRS, token_budget=128)
    assert sum(len(batch) for batch in seen) == DISTINCT
    assert all(batch.padded_tokens <= 128 for batch in seen)
    assert sum(batch.padded_tokens for batch in seen) < 1.2 * sum(batch.cost.tokens for batch in seen)


def test_a_single_pair_a_generator_and_nothing(reranker: Reranker) -> None:
    wanted = reranker.predict(PAIRS)
    assert reranker.predict(PAIRS[0]).tolist() == pytest.approx([wanted[0]], abs=1e-6)
    assert reranker.predict(list(PAIRS[1])).shape == (1,)
    assert reranker.predict(pair for pair in PAIRS).tolist() == wanted.tolist()
    assert reranker.predict([]).shape == (0,)
    assert reranker.rank("query", []) == []


def test_activation(reranker: Reranker) -> None:
    raw = reranker.predict(PAIRS, activation=nn.Identity())
    assert np.abs(reranker.predict(PAIRS) - 1 / (1 + np.exp(-raw))).max() <= 1e-6
    assert np.abs(reranker.predict(PAIRS, activation=lambda scores: 2 * scores) - 2 * raw).max() <= 1e-6


def test_prompts_stand_before_the_query(folder: Path) -> None:
    model = Reranker.from_pretrained(folder, device="cpu", prompts={"plant": "in the plant: ", "none": ""})
    plain = model.predict(PAIRS)
    prompted = model.predict([("in the plant: " + query, document) for query, document in PAIRS])
    assert np.abs(prompted - plain).max() > 1e-3
    assert np.abs(model.predict(PAIRS, prompt_name="plant") - prompted).max() <= 1e-6
    assert np.abs(model.predict(PAIRS, prompt="in the plant: ") - prompted).max() <= 1e-6
    assert model.predict(PAIRS, prompt_name="none").tolist() == plain.tolist()
    with pytest.raises(ConfigError, match="no prompt named 'pant'"):
        model.predict(PAIRS, prompt_name="pant")
    with pytest.raises(ConfigError, match="default_prompt_name"):
        Reranker.from_pretrained(folder, device="cpu", default_prompt_name="plant")


def test_bfloat16_stays_near(folder: Path, reranker: Reranker) -> None:
    wanted = reranker.predict(PAIRS)
    half = Reranker.from_pretrained(folder, device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    for found in (half.predict(PAIRS), reranker.predict(PAIRS, bf16=True)):
        assert found.dtype == np.float32
        assert 0 < np.abs(found - wanted).max() < 0.02


def test_progress_counts_every_pair(reranker: Reranker) -> None:
    told = []
    reranker.predict(PAIRS, token_budget=128, show_progress=told.append)
    assert told[-1].items == told[-1].total_items == len(PAIRS)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", "pair 1: expected a pair .* found a str"),
        (("a", "b", "c"), "pair 1: expected a pair .* found a tuple of 3"),
        (("a", None), "pair 1, document: the value is missing"),
        ((7, "b"), "pair 1, query: cannot read a int"),
    ],
)
def test_what_is_no_pair_of_texts_is_named(value: object, message: str, reranker: Reranker) -> None:
    with pytest.raises(InputError, match=message):
        reranker.predict([("a", "b"), value])


# Ranking


def test_rank_puts_the_best_first(reranker: Reranker) -> None:
    documents = [document for _, document in PAIRS]
    scores = reranker.predict([("costs", document) for document in documents])
    ranked = reranker.rank("costs", documents, return_documents=True)
    assert [one["score"] for one in ranked] == sorted(scores.tolist(), reverse=True)
    assert all(one["text"] == documents[one["corpus_id"]] for one in ranked)
    assert sorted(one["corpus_id"] for one in ranked) == list(range(len(documents)))
    best = reranker.rank("costs", documents, top_k=3)
    assert best == [{"corpus_id": one["corpus_id"], "score": one["score"]} for one in ranked[:3]]


def test_documents_of_equal_score_keep_their_order(reranker: Reranker) -> None:
    ranked = reranker.rank("costs", ["same", "other words", "same", "same"])
    same = [one["corpus_id"] for one in ranked if one["corpus_id"] != 1]
    assert same == [0, 2, 3]


def test_rank_needs_one_score_per_pair_and_a_positive_number(reranker: Reranker, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="top_k must be at least 1"):
        reranker.rank("costs", ["a"], top_k=0)
    several = Reranker.from_pretrained(bert_scores(tmp_path / "three", labels=3), device="cpu")
    assert several.predict(PAIRS).shape == (len(PAIRS), 3)
    with pytest.raises(ConfigError, match="3 scores per pair"):
        several.rank("costs", ["a"])


# Training mode and graphs


def test_predict_is_for_evaluation_and_leaves_the_mode_as_it_was(reranker: Reranker) -> None:
    wanted = reranker.predict(PAIRS)
    reranker.train()
    assert reranker.predict(PAIRS).tolist() == wanted.tolist(), "dropout was on"
    assert reranker.training


def test_forward_gives_scores_with_a_graph(reranker: Reranker) -> None:
    features = reranker.preprocessor.many([parse_pair(pair) for pair in PAIRS])
    batch = reranker.collate(features, range(len(PAIRS)))
    scores_nL = reranker(batch)
    assert scores_nL.shape == (len(PAIRS), 1)
    assert torch.sigmoid(scores_nL[:, 0]).tolist() == pytest.approx(
        reranker.predict(PAIRS).tolist(), abs=1e-6
    )
    scores_nL.sum().backward()
    missing = [name for name, value in reranker.named_parameters() if value.grad is None]
    assert missing == []


# Saving


def test_save_and_load(folder: Path, tmp_path: Path) -> None:
    model = Reranker.from_pretrained(
        folder, device="cpu", activation=nn.Tanh(), prompts={"ask": "Ask: "}, default_prompt_name="ask",
        processor_kwargs={"model_max_length": 24},
    )  # fmt: skip
    model.predict(PAIRS)  # which switches the attention function
    model.save_pretrained(tmp_path / "saved", card="# A reranker")
    assert "attn" not in (tmp_path / "saved" / "config.json").read_text()
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.predict(PAIRS).tolist() == model.predict(PAIRS).tolist()
    assert (again.prompts, again.default_prompt_name, again.max_tokens) == ({"ask": "Ask: "}, "ask", 24)
    assert isinstance(again.activation, nn.Tanh)
    assert (tmp_path / "saved" / "README.md").read_text() == "# A reranker"


def test_an_activation_the_format_cannot_hold_is_refused(folder: Path, tmp_path: Path) -> None:
    model = Reranker.from_pretrained(folder, device="cpu", activation=nn.Softmax(dim=0))
    with pytest.raises(CheckpointError, match="cannot express the activation Softmax"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
