"""Datasets as rows, and what their columns mean."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import pytest
from PIL import Image

from sightline.errors import ConfigError, DataError
from sightline.training.rows import Columns, as_rows, choose_columns

ROWS = [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}]


def test_three_ways_to_give_the_same_rows() -> None:
    columns = {"anchor": ["a", "c"], "positive": ["b", "d"]}
    for dataset in (ROWS, columns, datasets.Dataset.from_dict(columns), datasets.Dataset.from_list(ROWS)):
        rows = as_rows(dataset)
        assert rows.column_names == ("anchor", "positive")
        assert [rows[number] for number in range(len(rows))] == list(enumerate(ROWS))
        assert as_rows(rows) is rows


def test_images_of_a_dataset_are_not_decoded(tmp_path: Path) -> None:
    path, stream = tmp_path / "page.png", io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(path)
    Image.new("RGB", (3, 2), "red").save(stream, "PNG")
    features = datasets.Features(
        {"q": datasets.Value("string"), "page": datasets.Image(), "pages": datasets.List(datasets.Image())}
    )
    dataset = datasets.Dataset.from_dict(
        {"q": ["x"], "page": [str(path)], "pages": [[{"bytes": stream.getvalue(), "path": None}]]}, features
    )
    (_, row) = as_rows(dataset)[0]
    assert row["page"] == {"bytes": None, "path": str(path)}
    assert row["pages"] == [{"bytes": stream.getvalue(), "path": None}]
    (_, row) = as_rows(dataset.with_format("numpy"))[0]
    assert row["page"]["path"] == str(path)


def test_what_cannot_be_rows_is_named() -> None:
    with pytest.raises(DataError, match="differ in length"):
        as_rows({"a": [1], "b": [1, 2]})
    with pytest.raises(DataError, match="the training dataset has no rows"):
        as_rows([])
    with pytest.raises(DataError, match="row 0 of the test set is a str"):
        as_rows(["text"], name="the test set")
    with pytest.raises(DataError, match="row 1 is a list"):
        as_rows([{"a": 1}, ["b"]])[1]
    split = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS))
    with pytest.raises(ConfigError, match=r"choose one, e.g. dataset\['train'\]"):
        as_rows(split)
    with pytest.raises(ConfigError, match="is a stream"):
        as_rows(split["train"].to_iterable_dataset())


def test_columns_by_convention() -> None:
    assert choose_columns(
        ["q", "page", "hard", "label"], role_prompts={"query": "Q: ", "document": None}
    ) == Columns(("q", "page", "hard"), ("query", "document", "document"), ("Q: ", None, None), ("label",))


def test_columns_as_told() -> None:
    chosen = choose_columns(
        ["id", "page", "q"],
        columns=["q", "page"],
        roles={"page": "query"},
        prompts={"q": "ask: "},
        role_prompts={"query": "Q: "},
    )
    assert chosen == Columns(("q", "page"), ("query", "query"), ("ask: ", "Q: "))
    assert choose_columns(["q", "d"], prompts="", role_prompts={"query": "Q: "}).prompts == (None, None)
    assert choose_columns(["q", "d"], prompts="x: ").prompts == ("x: ", "x: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["anker"]}, "columns names 'anker', but the training dataset has the columns q, d"),
        ({"roles": {"x": "query"}}, "roles names 'x'"),
        ({"prompts": {"x": "y"}}, "prompts names 'x'"),
        ({"roles": {"d": "passage"}}, "role of column 'd' must be query or document, not 'passage'"),
        ({"columns": []}, "no column to embed"),
    ],
)
def test_wrong_columns_are_named(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_columns(["q", "d"], **options)
