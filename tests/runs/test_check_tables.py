"""The data doctor on tables as they are published, and their cleaned copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from sightline.documents.doctor.findings import Diagnosis
from sightline.errors import DataError
from sightline.runs.check import check_data, known_columns
from support import published
from support.sick_datasets import jpeg, picture


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def found(diagnosis: Diagnosis) -> dict[str, tuple[str, ...]]:
    return {one.kind: one.places for one in diagnosis.findings}


def write(path: Path, rows: list[dict[str, Any]], *, image: bool = False) -> Path:
    kind = datasets.Image() if image else datasets.Value("string")
    names = list(dict.fromkeys(name for row in rows for name in row))
    types = {
        name: datasets.Value("string")
        if name == "query"
        else datasets.Value("float64")
        if name == "label"
        else kind
        for name in names
    }
    columns = {name: [row.get(name) for row in rows] for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(types)).to_parquet(str(path))
    return path


def cell(number: int) -> dict[str, Any]:
    return {"bytes": jpeg(picture(number)), "path": None}


def test_published_data_is_read_as_it_lies_there(tmp_path: Path) -> None:
    folder = published.table(tmp_path / "pages", train=6, held_out=3)
    diagnosis = check_data(folder, workers=1).diagnosis
    assert diagnosis.counts == {"cells": 45, "rows": 9, "negatives": 36}
    assert (diagnosis.errors, diagnosis.warnings) == ((), ())


def test_rows_with_images(tmp_path: Path) -> None:
    damaged = {"bytes": jpeg(picture(9))[:2000], "path": None}
    rows = [
        {"query": "a pump", "image": cell(0), "negative_0": cell(1)},
        {"query": "a valve", "image": cell(2), "negative_0": cell(2)},
        {"query": "a seal", "image": damaged, "negative_0": cell(3)},
        {"query": "a shaft", "image": cell(4), "negative_0": damaged},
        {"query": None, "image": cell(5), "negative_0": cell(6)},
        {"query": "a motor", "image": None, "negative_0": cell(7)},
        {"query": "a cable", "image": cell(8), "negative_0": None},
        {"query": "a relay", "image": cell(0), "negative_0": cell(3)},
    ]
    held_out = [
        {"query": "which pump is meant", "image": cell(0), "negative_0": cell(12)},
        {"query": "another", "image": cell(13), "negative_0": cell(14)},
    ]
    write(tmp_path / "in" / "train.parquet", rows, image=True)
    write(tmp_path / "in" / "test.parquet", held_out, image=True)
    checked = check_data(tmp_path / "in", workers=2)
    kinds = found(checked.diagnosis)
    assert kinds["unreadable"] == ("train row 2, column 'image'",)  # and row 3's, which holds the same bytes
    assert kinds["empty-question"] == ("train row 4",)
    assert kinds["missing-page"] == ("train row 5",)
    assert kinds["negative-is-positive"] == ("train row 1, column 'negative_0'",)
    assert kinds["leak"] == ("test row 0",)
    assert checked.diagnosis.exit_code() == 1

    cleaning = checked.fix(tmp_path / "out")
    left = datasets.load_dataset(str(tmp_path / "out"))
    assert left["train"]["query"] == ["a valve", "a shaft", "a cable"]
    assert [row["negative_0"] for row in left["train"]] == [None, None, None]
    assert left["train"][0]["image"].size == (240, 320)
    assert left["test"]["query"] == ["which pump is meant", "another"]
    assert left["train"].features == datasets.load_dataset(str(tmp_path / "in"))["train"].features
    again = checked.again(tmp_path / "out", workers=1).diagnosis
    assert (again.errors, again.warnings) == ((), ())
    records = [json.loads(line) for line in (tmp_path / "out" / "removed.jsonl").read_text().splitlines()]
    assert len(records) == len(cleaning.removed)
    assert {record["name"] for record in records if record["what"] == "row"} == {
        f"train row {number}" for number in (0, 2, 4, 5, 7)
    }


def test_labels(tmp_path: Path) -> None:
    rows = [{"query": f"question {n}", "document": f"text {n}", "label": float(n == 0)} for n in range(40)]
    rows[5]["label"] = None
    path = write(tmp_path / "pairs.parquet", rows)
    diagnosis = check_data(path).diagnosis
    assert found(diagnosis) == {
        "label-missing": ("train row 5, column 'label'",),
        "label-balance": ("column 'label'",),
    }
    (told,) = diagnosis.notes
    assert told.message == "0: 38, 1: 1; the rarest is 2.6% of them"
    constant = write(tmp_path / "same.parquet", [{**row, "label": 1.0} for row in rows])
    assert found(check_data(constant).diagnosis) == {"label-constant": ("column 'label'",)}


def test_columns_by_their_names(tmp_path: Path) -> None:
    names = ["id", "image", "query", "negative_1", "negative_0", "score", "language"]
    assert known_columns(names, "x") == ["query", "image", "negative_1", "negative_0", "score"]
    path = write(tmp_path / "odd.parquet", [{"query": "a pump", "where": "a text"}])
    with pytest.raises(DataError, match="--columns QUESTION,ANSWER"):
        check_data(path)
    assert check_data(path, columns=["query", "where"]).diagnosis.findings == ()
    with pytest.raises(DataError, match="no column 'elsewhere'"):
        check_data(path, columns=["query", "elsewhere"])
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="cannot be opened"):
        check_data(broken)
