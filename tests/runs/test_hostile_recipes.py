"""Recipes over data that cannot be trained on: told with row and column, before anything is measured or trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image

from sightline.config.load import recipe_from
from sightline.errors import ConfigError, DataError, InputError
from sightline.runs.cells import Cells
from sightline.runs.tables import TableMaterial, empty_cells
from sightline.runs.train import run_recipe
from support import published, tiny_rerankers

ROWS: list[dict[str, Any]] = [
    {"query": f"how many {word}", "text": f"{number} {word}", "score": number / 8}
    for number, word in enumerate(("pump", "valve", "report", "table", "chart", "plant"))
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_rerankers.bert_scores(tmp_path_factory.mktemp("bert"))


def refusal(folder: Path, model: Path, rows: list[dict[str, Any]], plan: dict[str, Any]) -> str:
    """The error of a recipe over a table of these rows, of which nothing was trained."""
    for name, some in (("train", rows), ("held", ROWS)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, some)))
    tables: dict[str, Any] = {
        "model": {"name": str(model), "device": "cpu"},
        "data": {"dataset": str(folder / "train.jsonl"), "columns": ["query", "text"]},
        "training": {"max_steps": 1, "per_device_train_batch_size": 3, "dataloader_num_workers": 0},
        "evaluation": {
            "dataset": str(folder / "held.jsonl"), "columns": ["query", "text"], "split": "train", "untuned": False,
        },
        "output": {"dir": str(folder / "run"), "report": False},
    }  # fmt: skip
    for name, table in plan.items():
        tables[name] = tables.get(name, {}) | table
    with pytest.raises((ConfigError, DataError, InputError)) as caught:
        # Without the data doctor, who would find some of it sooner.
        run_recipe(recipe_from(tables, source="r.toml"), check=False)
    assert not (folder / "run" / "final").exists()
    assert not list(folder.glob("run/checkpoints/*"))
    return str(caught.value)


SCORED = {"data": {"columns": ["query", "text", "score"]}}


@pytest.mark.parametrize(
    ("loss", "more", "message"),
    [
        (
            {"name": "cosent"},
            {},
            "CoSENT needs a label column, but the training dataset has none, only 'query'",
        ),
        (
            {"name": "cosent"},
            {"data": {"columns": ["query", "text", "rating"]}},
            "no column 'rating'; it has query",
        ),
        (
            {"name": "triplet"},
            {},
            "Triplet compares 3 columns, but the training dataset has only 'query', 'text'",
        ),
        (
            {"name": "binary_cross_entropy"},
            SCORED,
            "r.toml: BinaryCrossEntropy is for the scores of a Reranker",
        ),
        ({"name": "distill_kl"}, SCORED, "DistillKL compares 3 columns"),
        ({"similarity": "dot", "false_negatives": {"by": "model"}}, {}, "the similarity 'dot' has no bounds"),
        (
            {"similarity": "maxsim"},
            {},
            "InfoNCE compares token vectors, and this model gives one vector per item",
        ),
        ({"false_negatives": {"by": "guide"}}, {}, "InfoNCE finds false negatives by a guide; give"),
        (
            {},
            {"training": {"per_device_train_batch_size": 1}},
            "and a batch has one; set per_device_train_batch_size",
        ),
        ({}, {"training": {"columns": ["query", "page"]}}, "columns names 'page'"),
        ({}, {"training": {"prompts": {"page": "x: "}}}, "prompts names 'page'"),
    ],
)
def test_what_is_known_before_any_row_is_read(
    tiny: Callable[[str], Path], tmp_path: Path, loss: dict, more: dict, message: str
) -> None:
    assert message in refusal(tmp_path, tiny("bert"), ROWS, {"loss": loss} | more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        (
            "cosent",
            {"score": None},
            "row 4, column 'score': expected a number or a list of numbers, got None",
        ),
        (
            "cosine_similarity",
            {"score": 4.5},
            "row 4, column 'score': 4.5, and CosineSimilarity takes labels from -1",
        ),
        (
            "contrastive",
            {"score": -1.0},
            "row 4, column 'score': -1, and Contrastive takes labels from 0 to 1",
        ),
        ("infonce", {"text": "PAGE"}, "row 4, column 'text': 'PAGE' holds image, and this model reads text"),
    ],
)
def test_a_row_that_an_encoder_cannot_be_trained_on(
    tiny: Callable[[str], Path], tmp_path: Path, loss: str, bad: dict[str, Any], message: str
) -> None:
    page = tmp_path / "p.png"
    Image.new("RGB", (8, 8)).save(page)
    rows = [dict(row) for row in ROWS]
    rows[4] |= {name: str(page) if value == "PAGE" else value for name, value in bad.items()}
    found = refusal(tmp_path, tiny("bert"), rows, {"loss": {"name": loss}} | SCORED)
    assert message.replace("PAGE", str(page)) in found
    assert "1 of 6 rows of the training dataset cannot be used" in found
    assert 'set on_bad_row="skip"' in found


def test_a_column_without_anything_in_it(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [row | {"text": None} for row in ROWS]
    found = refusal(tmp_path, tiny("bert"), rows, {})
    assert "column 'text' of the training dataset is empty in every row" in found


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        (
            "binary_cross_entropy",
            {"score": 3.0},
            "row 4, column 'score': 3, and BinaryCrossEntropy takes labels from 0",
        ),
        ("listnet", {"score": [1.0, 0.0]}, "row 4, column 'score': 2 numbers, where row 0 has one number"),
        ("score_mse", {"query": None}, "row 4, column 'query': empty; every pair needs a query"),
        ("score_mse", {"text": None}, "row 4, column 'text': empty; the row has no document"),
        ("infonce", {}, "r.toml: InfoNCE is for the vectors of an Encoder"),
        ("cross_entropy", {}, "r.toml: CrossEntropy needs a score per class"),
        (
            "margin_mse",
            {},
            "MarginMSE compares a query's documents, but the rows of the training dataset have one",
        ),
        (
            "in_batch_ranking",
            {"text": 5},
            "row 4, column 'query' with column 'text', document: cannot read a int",
        ),
    ],
)
def test_what_a_reranker_cannot_be_trained_on(
    reranker: Path, tmp_path: Path, loss: str, bad: dict[str, Any], message: str
) -> None:
    rows = [dict(row) for row in ROWS]
    rows[4] |= bad
    plan = {"model": {"kind": "reranker"}, "loss": {"name": loss}} | SCORED
    found = refusal(tmp_path, reranker, rows, plan)
    assert message in found


def test_held_out_pages_are_not_read_to_be_counted_and_checked(
    tmp_path: Path, tiny_encoder: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    cell = Cells.__getitem__
    monkeypatch.setattr(Cells, "__getitem__", lambda self, name: (read.append(name), cell(self, name))[1])
    table = published.table(tmp_path / "pages", train=6, held_out=5)
    names = ["query", "image", "negative_0"]
    recipe = recipe_from(
        {
            "model": {"name": "x"},
            "data": {"dataset": str(table), "subset": "train", "columns": names},
            "evaluation": {"subset": "eval", "split": "train"},
            "output": {"dir": str(tmp_path / "run")},
        }
    )
    material = TableMaterial(recipe)
    material.check(tiny_encoder("qwen3_vl"))
    assert material.measured_on == "5 questions over 10 documents"
    assert material.facts["documents"] == 10
    assert material.baseline() is None
    assert set(material.first_search(3, seed=0)) == {f"{row}:query" for row in range(5)}
    assert not read, "cells were read"
    assert list(material.documents) == [f"{row}:{name}" for row in range(5) for name in names[1:]]


def test_empty_cells() -> None:
    media = {"bytes": None, "path": None}
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    images = pyarrow.array([media, {"bytes": b"x", "path": None}, None], kind)
    table = datasets.Dataset(pyarrow.table({"a": ["x", None, ""], "image": images}))
    assert empty_cells(table, "a") == {1}
    assert empty_cells(table, "image") == {0, 2}
    assert empty_cells(table.select([2, 1]), "image") == {0}
