"""Finished runs on tables are compared, if they were measured with the same cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sightline.config.load import recipe_from
from sightline.errors import DataError
from sightline.runs.contest import compare_systems
from sightline.runs.table_fingerprint import table_fingerprint
from sightline.runs.train import run_recipe
from support.sick_datasets import jpeg, picture

WORDS = ("pump", "valve", "report", "table", "chart", "plant")


def trained(model: Path, table: Path, output: Path, seed: int) -> Path:
    tables: dict[str, Any] = {
        "model": {"name": str(model), "device": "cpu"},
        "data": {"dataset": str(table), "columns": ["query", "text"]},
        "training": {"per_device_train_batch_size": 3, "max_steps": 2, "seed": seed, "save_strategy": "no"},
        "evaluation": {"split": "train", "untuned": False},
        "output": {"dir": str(output), "report": False},
    }
    run_recipe(recipe_from(tables, source="recipe.toml"), console=Console(quiet=True))
    return output


def test_runs_on_one_table_are_compared_and_on_another_refused(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [{"query": f"how many {w} {n}", "text": f"{n} {w} in all"} for n, w in enumerate(WORDS)]
    tables = {"same": rows, "other": [*rows[:-1], rows[-1] | {"text": "none at all"}]}
    for name, lines in tables.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    model = tiny("bert")
    first = trained(model, tmp_path / "same.jsonl", tmp_path / "first", 1)
    second = trained(model, tmp_path / "same.jsonl", tmp_path / "second", 2)
    other = trained(model, tmp_path / "other.jsonl", tmp_path / "third", 1)
    found = compare_systems([str(first), str(second)], baseline="bm25")
    assert [row.name for row in found.rows] == ["bm25", "first", "second"]
    assert [one.after.name for one in found.comparisons] == ["first", "second"]
    with pytest.raises(DataError, match="measured with different questions or pages"):
        compare_systems([str(first), str(other)])


def test_of_an_image_the_content_counts_and_not_the_place(tmp_path: Path) -> None:
    for name, number in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(picture(number)))
    a, b, c = (
        table_fingerprint({"0:q": "a pump"}, {"0:d": tmp_path / f"{name}.jpg"}, {"0:q": {"0:d"}}) for name in "abc"
    )  # fmt: skip
    assert a == b != c
    # Text that ends like a file's name is text for a model of texts.
    assert table_fingerprint({"0:q": "logo.png"}, {"0:d": "x"}, {"0:q": {"0:d"}}) != table_fingerprint(
        {"0:q": "icon.png"}, {"0:d": "x"}, {"0:q": {"0:d"}}
    )
