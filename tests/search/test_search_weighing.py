"""Weights of a hybrid search are chosen by questions, and only where choosing is surely worth it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.words_encoder import WordsEncoder
from sightline.documents.dataset import Dataset
from sightline.documents.records import Document, Question
from sightline.errors import SearchIndexError
from sightline.evaluation.metrics import evaluate
from sightline.search.index import build_index
from sightline.search.pages import PageRecord
from sightline.search.results import run_queries
from sightline.search.searcher import Searcher
from sightline.search.weighing import tune_fusion
from sightline.types import Embeddings

DOCUMENTS = [f"d{number}.pdf" for number in range(12)]
TOPICS = [
    "pump",
    "valve",
    "rotor",
    "gear",
    "shaft",
    "lamp",
    "cable",
    "hose",
    "filter",
    "piston",
    "spring",
    "bolt",
]


class Dice(WordsEncoder):
    """Vectors that say nothing: drawn by the content's hash."""

    def _encode(self, inputs: Any) -> Embeddings:
        seeds = [int(hashlib.sha256(str(value).encode()).hexdigest()[:8], 16) for value in inputs]
        return Embeddings(
            torch.stack([torch.randn(24, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        )


def questions(split: str) -> Dataset:
    documents = tuple(Document(name, f"/nowhere/{name}", page_count=3, split=split) for name in DOCUMENTS)
    asked = tuple(
        Question(f"{name}-{page}", f"all about the {topic} on sheet {page}x", name, (page,), split)
        for name, topic in zip(DOCUMENTS, TOPICS)
        for page in range(3)
    )
    return Dataset(Path("none"), {}, documents, asked)


def searcher_with(folder: Path, encoder: WordsEncoder, **options: Any) -> Searcher:
    pages = [
        PageRecord(f"{name}#p{page}", name, page, f"all about the {topic} and more of it, sheet {page}x")
        for name, topic in zip(DOCUMENTS, TOPICS)
        for page in range(3)
    ]
    return Searcher(build_index(folder / "index", pages, encoder, progress=False), encoder, **options)


def test_vectors_that_say_nothing_get_no_weight(tmp_path: Path) -> None:
    searcher = searcher_with(tmp_path, Dice())
    found = tune_fusion(searcher, questions("train"))
    vector, text = found.best.weights
    assert vector <= 0.3
    assert found.fusion == found.best
    assert found.gain.low > 0
    assert (found.questions, found.documents, found.split) == (36, 12, "train")
    # The figures are those of searching.
    data = questions("train")
    for choice in (found.best, searcher.fusion):
        chosen = Searcher(searcher.index, Dice(), fusion=choice.method, weights=choice.weights)
        run = run_queries(chosen, {one.id: one.query for one in data.all_questions})
        ndcg = evaluate(data.relevant("train"), run, ["ndcg@10"])["ndcg@10"]
        share = choice.weights[0] / sum(choice.weights)
        assert found.scores[choice.method, share] == pytest.approx(ndcg, abs=1e-9)
    assert found.scores[found.best.method, vector] == max(found.scores.values())
    assert text == 1 - vector


def test_a_gain_that_may_be_chance_changes_nothing(tmp_path: Path) -> None:
    searcher = searcher_with(tmp_path, WordsEncoder(), weights=(0.0, 1.0), fusion="scores")
    found = tune_fusion(searcher, questions("train"))
    assert found.gain.low <= 0
    assert found.fusion == searcher.fusion


def test_the_test_split_is_not_chosen_by(tmp_path: Path) -> None:
    searcher = searcher_with(tmp_path, WordsEncoder())
    assert tune_fusion(searcher, questions("validation")).split == "validation"
    with pytest.raises(SearchIndexError, match="would make the test worthless"):
        tune_fusion(searcher, questions("test"), split="test")
    one = questions("train")
    with pytest.raises(SearchIndexError, match="at least 2 documents"):
        tune_fusion(searcher, replace(one, all_questions=one.all_questions[:3]))
    away = replace(one.all_questions[0], document="gone.pdf")
    with pytest.raises(SearchIndexError, match=r"does not hold 'gone\.pdf'"):
        tune_fusion(searcher, replace(one, all_questions=(away, *one.all_questions)))
