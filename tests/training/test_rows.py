"""Datasets as rows, and what their columns mean."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image

from sightline.errors import ConfigError, DataError
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.rows import Columns, as_rows, choose_columns
from sightline.training.source import RowSource
from sightline.training.undecoded import undecoded

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


RAW = {"bytes": b"no medium", "path": None}
TEXT = datasets.Value("string")
MEDIA = {"image": datasets.Image(), "audio": datasets.Audio(), "video": datasets.Video()}


def nested(kind: str) -> list[tuple[Any, Any]]:
    """Features with media of a kind, each with a cell."""
    medium = MEDIA[kind]
    struct, cell = {kind: medium, "text": TEXT}, {kind: RAW, "text": "a"}
    part = {"type": TEXT, "text": TEXT, kind: medium}
    chat = datasets.List({"role": TEXT, "content": datasets.List(part)})
    parts = [{"type": "text", "text": "a", kind: None}, {"type": kind, "text": None, kind: RAW}]
    return [
        (medium, RAW),
        (datasets.List(medium), [RAW, RAW]),
        (datasets.LargeList(medium), [RAW]),
        (struct, cell),
        (struct, {kind: None, "text": "a"}),
        (datasets.List(struct), [cell, cell]),
        ({kind: datasets.List(medium)}, {kind: [RAW]}),
        (chat, [{"role": "user", "content": parts}]),
    ]


@pytest.mark.parametrize("kind", list(MEDIA))
@pytest.mark.parametrize("stream", [False, True], ids=["rows", "stream"])
def test_media_stay_files_wherever_they_stand_in_a_column(kind: str, stream: bool) -> None:
    cases = nested(kind)
    features = datasets.Features({f"c{n}": feature for n, (feature, _) in enumerate(cases)} | {"q": TEXT})
    row = {f"c{n}": cell for n, (_, cell) in enumerate(cases)} | {"q": "x"}
    table = pyarrow.Table.from_pylist([row, row | {"q": "y"}], schema=features.arrow_schema)
    dataset = datasets.Dataset(table, info=datasets.DatasetInfo(features=features)).select([1, 0])
    before = dataset._fingerprint
    if stream:
        read = list(undecoded(dataset.to_iterable_dataset()))
    else:
        rows = as_rows(dataset)
        read = [rows[number][1] for number in range(2)]
        assert rows.fingerprint == as_rows(dataset).fingerprint != before
        assert pickle.loads(pickle.dumps(rows))[1][1] == row
    assert read == [row | {"q": "y"}, row]
    assert dataset.features == features, "the person's own dataset is as it was"
    assert dataset.cache_files == []


def test_a_damaged_medium_in_a_struct_is_a_row_like_others(
    tiny_encoder: Callable[[str], Any], tmp_path: Path
) -> None:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(stream, "PNG")
    pages = [{"image": {"bytes": stream.getvalue(), "path": None}, "text": f"page {n}"} for n in range(4)]
    pages[2]["image"] = {"bytes": stream.getvalue()[:900], "path": None}
    features = datasets.Features({"q": TEXT, "page": {"image": datasets.Image(), "text": TEXT}})
    rows = as_rows(datasets.Dataset.from_dict({"q": ["a", "b", "c", "d"], "page": pages}, features))
    args = TrainingArguments(output_dir=str(tmp_path), on_bad_row="skip", disable_tqdm=True)
    source = RowSource(tiny_encoder("qwen3_vl"), InfoNCE(), args, {"": rows}, shows_progress=False)
    assert source.usable(rows) == [0, 1, 3]
    (bad,) = source.skipped
    assert bad.row == 2
    assert "row 2, column 'page'" in bad.reason
    assert "truncated or damaged" in bad.reason


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
