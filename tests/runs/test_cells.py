"""A published table is measured with a cell at a time: a collection of images need not fit into memory."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from sightline.config.load import recipe_from
from sightline.config.recipe import Recipe
from sightline.evaluation.candidates import CandidatePairs
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.runs.cells import Cells
from sightline.runs.tables import TableMaterial
from sightline.types import Embeddings

ROWS, SIZE = 40, 100
HEAD = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A table: both sides images, and one hard negative, of which some are missing."""
    chance = np.random.default_rng(0)

    def media(row: int, *, gap: bool = False) -> dict[str, Any] | None:
        return (
            None
            if gap and row % 4 == 0
            else {"bytes": HEAD + row.to_bytes(2) + chance.bytes(SIZE), "path": None}
        )

    rows = {
        "page": [media(row) for row in range(ROWS)],
        "near": [media(row) for row in range(ROWS)],
        "far": [media(row, gap=True) for row in range(ROWS)],
    }
    features = datasets.Features(dict.fromkeys(rows, datasets.Image(decode=False)))
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "table")
    return recipe_from(
        {
            "model": {"name": "none"},
            "data": {"dataset": str(tmp_path / "table"), "columns": list(rows)},
            "evaluation": {"split": "train"},
            "output": {"dir": str(tmp_path / "run")},
        }
    )


class Reads:
    """An encoder that looks at one value at a time, and knows a page by its first bytes."""

    similarity_fn_name = "cosine"

    def encode_query(self, inputs: Any, **_: Any) -> Embeddings:
        return Embeddings(torch.eye(ROWS)[[_number(value) for value in inputs]])

    encode_document = encode_query


def _number(value: Any) -> int:
    return int.from_bytes(value["bytes"][len(HEAD) :][:2])


class Seen(dict[str, Any]):
    """A cell whose end can be noticed."""

    __hash__ = object.__hash__  # type: ignore[assignment]


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many cells were read, and how many of them there were at once at most."""
    counts: Counter[str] = Counter()
    alive: weakref.WeakSet[Seen] = weakref.WeakSet()
    read = Cells.__getitem__

    def watched(cells: Cells, identifier: str) -> Seen:
        value = Seen(read(cells, identifier))
        alive.add(value)
        counts["read"] += 1
        counts["at once"] = max(counts["at once"], len(alive))
        return value

    monkeypatch.setattr(Cells, "__getitem__", watched)
    return counts


def test_an_evaluation_holds_a_few_images_at_a_time(recipe: Recipe, most: Counter[str]) -> None:
    material = TableMaterial(recipe)
    assert len(material.documents) == 2 * ROWS - ROWS // 4
    assert len(material.fingerprint) == 32
    evaluator = material.evaluator("", show_progress=False)
    found = evaluator(Reads())  # type: ignore[arg-type]
    assert found["recall@10"] == 1.0
    first = material.first_search(10, seed=1)
    asked = evaluator.queries, evaluator.corpus, evaluator.relevant, first
    # What a reranker of ours is given: pairs, parsed when it asks for them.
    candidates = RerankingEvaluator.of_run(*asked, depths=(10,)).candidates
    pairs = CandidatePairs(candidates, ("text", "image"))
    assert len(pairs) == 10 * ROWS
    assert all(pair.parts for pair in pairs)
    assert most["read"] > 500
    assert most["at once"] <= 4  # a pair, and the next one


def test_cells_are_those_of_the_table(recipe: Recipe) -> None:
    material = TableMaterial(recipe)
    table = datasets.load_from_disk(recipe.data.dataset)
    assert material.documents["7:near"] == table[7]["near"]
    assert list(material.questions)[:2] == ["0:page", "1:page"]
    assert "4:far" not in material.documents
    assert "5:far" in material.documents
    with pytest.raises(KeyError):
        material.documents["4:far"]
    corpus = material.evaluator("").corpus
    assert list(corpus) == sorted(material.documents, reverse=True)
    assert corpus["39:near"] == table[39]["near"]
