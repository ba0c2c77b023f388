"""`mine_hard_negatives` of `sightline.compat` against ST's on the same pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import sentence_transformers
from PIL import Image
from sentence_transformers.util import mine_hard_negatives

from sightline import compat
from sightline.errors import ConfigError, DataError
from support.reranker_rows import triplets
from support.tiny_rerankers import bert_scores

FORMS = ["triplet", "n-tuple", "labeled-pair", "labeled-list"]


@pytest.fixture(scope="module")
def pairs() -> datasets.Dataset:
    """Pairs with a further column; queries and documents repeat."""
    rows = [{"query": row["query"], "answer": row["positive"], "more": 1} for row in triplets(24, seed=3)]
    rows += [{"query": rows[0]["query"], "answer": rows[5]["answer"], "more": 2}, rows[7]]
    return datasets.Dataset.from_list(rows)


@pytest.fixture(scope="module")
def models(tiny: Callable[[str], Path]) -> tuple[Any, Any]:
    """Ours and theirs."""
    folder, options = str(tiny("bert")), {"device": "cpu", "prompts": {"ask": "the report: "}}
    return compat.SentenceTransformer(folder, **options), sentence_transformers.SentenceTransformer(
        folder, **options
    )


def both(
    models: tuple[Any, Any], rows: datasets.Dataset, ours: dict[str, Any] | None = None, **options: Any
) -> None:
    """The same rows in the same order, scores within 1e-5."""
    found = compat.mine_hard_negatives(rows, models[0], **options | (ours or {}))
    wanted = mine_hard_negatives(rows, models[1], verbose=False, **options)
    assert found.column_names == wanted.column_names
    assert found.features == wanted.features
    assert len(found) == len(wanted) > 0
    for name in wanted.column_names:
        if name in ("score", "scores"):
            for one, other in zip(found[name], wanted[name], strict=True):
                assert np.abs(np.asarray(one) - np.asarray(other)).max() < 1e-5
        else:
            assert list(found[name]) == list(wanted[name]), name


@pytest.mark.parametrize("scores", [False, True], ids=["labels", "scores"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str, scores: bool, models: tuple[Any, Any], pairs: datasets.Dataset) -> None:
    both(models, pairs, output_format=form, output_scores=scores)
    both(models, pairs, output_format=form, output_scores=scores, relative_margin=0.01, num_negatives=2)


@pytest.mark.parametrize(
    "options",
    [
        {"range_min": 2, "range_max": 9},
        {"absolute_margin": 0.02},
        {"max_score": 0.97, "min_score": 0.5},
        {"min_score": 0.9},
        {"corpus": ["a valve", "its pump", "the plant and a chart"]},
        {"query_prompt_name": "ask", "corpus_prompt": "a page: "},
        {"include_positives": True, "num_negatives": 5},
        {"margin": 0.02},
        {"as_triplets": False},
        {"anchor_column_name": "answer", "positive_column_name": "query"},
        {"batch_size": 2, "faiss_batch_size": 3},
    ],
    ids=str,
)
def test_every_option(options: dict[str, Any], models: tuple[Any, Any], pairs: datasets.Dataset) -> None:
    both(models, pairs, **{"output_format": "labeled-pair", "output_scores": True} | options)


def test_a_reranker_scores_again(models: tuple[Any, Any], pairs: datasets.Dataset, tmp_path: Path) -> None:
    folder = str(bert_scores(tmp_path / "bert"))
    theirs = sentence_transformers.CrossEncoder(folder, device="cpu")
    ours = {"cross_encoder": compat.CrossEncoder(folder, device="cpu")}
    for options in ({"absolute_margin": 0.05}, {"min_score": 0.3}, {}):
        both(models, pairs, ours, cross_encoder=theirs, output_scores=True, **options)


def test_draws_are_seeded(models: tuple[Any, Any], pairs: datasets.Dataset) -> None:
    options = {"sampling_strategy": "random", "range_max": 12, "num_negatives": 2}
    once, twice = (compat.mine_hard_negatives(pairs, models[0], **options).to_list() for _ in range(2))
    assert once == twice
    assert once != compat.mine_hard_negatives(pairs, models[0], range_max=12, num_negatives=2).to_list()


def test_pictures_are_mined_too(tiny: Callable[[str], Path]) -> None:
    """ST has no keys for them."""
    model = compat.SentenceTransformer(str(tiny("clip")), device="cpu")
    images = [Image.fromarray(np.full((64, 64, 3), 12 * number, np.uint8)) for number in range(8)]
    features = datasets.Features({"query": datasets.Value("string"), "page": datasets.Image()})
    rows = {"query": [f"page {number}" for number in range(8)] * 2, "page": images * 2}
    found = compat.mine_hard_negatives(
        datasets.Dataset.from_dict(rows, features=features), model, num_negatives=2
    )
    assert found.features["negative"] == datasets.Image()
    assert len(found) == 16  # equal pairs count once
    shown = [int(np.asarray(image)[0, 0, 0]) for image in found["negative"]]
    right = [int(np.asarray(image)[0, 0, 0]) for image in found["page"]]
    assert all(one != other for one, other in zip(shown, right, strict=True))


def test_what_has_no_equal_is_named(models: tuple[Any, Any], pairs: datasets.Dataset) -> None:
    for options, error, words in (
        ({"use_multi_process": True}, ConfigError, "use_multi_process has no equal"),
        ({"cache_folder": "x"}, ConfigError, "cache_folder has no equal"),
        (
            {"include_positives": True, "range_min": 1},
            ConfigError,
            "include_positives gives the whole ranking",
        ),
        ({"output_format": "pairs"}, ConfigError, "output_format is one of triplet"),
        ({"num_negatives": 0}, ConfigError, "num_negatives must be at least 1"),
        ({"anchor_column_name": "question"}, DataError, "no column 'question'; it has query, answer, more"),
    ):
        with pytest.raises(error, match=words):
            compat.mine_hard_negatives(pairs, models[0], **options)
