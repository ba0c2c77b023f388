"""Recipes that train with mined negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sightline.config.load import recipe_from
from sightline.config.recipe import Recipe
from sightline.documents.adding import add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.mining import mine_negatives
from sightline.documents.mining_rules import MiningRules
from sightline.documents.records import Question
from sightline.errors import ConfigError, DataError
from sightline.runs.pages import PageMaterial, train_rows
from sightline.runs.train import run_recipe
from support.fixtures import MINILM
from support.mined_pages import mined_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = mined_pages(tmp_path_factory.mktemp("mined"))
    # A margin, so that some pairs have fewer than two.
    mine_negatives(made, bm25=True, rules=MiningRules(num_negatives=2, relative_margin=0.5))
    return made


def recipe(pages: Path, output: Path, *overrides: str, **tables: dict[str, Any]) -> Recipe:
    table: dict[str, Any] = {
        "model": {"name": str(MINILM)},
        "data": {"dataset": str(pages), "fields": "text", "negatives": 2},
        "training": {"max_steps": 1, "per_device_train_batch_size": 8, "dataloader_num_workers": 0},
        "evaluation": {"bm25": False, "untuned": False},
        "output": {"dir": str(output), "report": False, "verify": False},
    }
    for name, values in tables.items():
        table[name] = {**table.get(name, {}), **values}
    return recipe_from(table, overrides, source="r.toml")


def test_a_run_trains_with_empty_cells_too(pages: Path, tmp_path: Path) -> None:
    mined = Dataset.load(pages).mined()
    counts = {len(row.negatives) for row in mined.rows}
    assert {0, 2} <= counts
    done = run_recipe(recipe(pages, tmp_path / "run"))
    assert done.outcome.rows[-1].name == "fine-tuned"


def test_several_views_have_their_negatives(pages: Path, tmp_path: Path) -> None:
    data = Dataset.load(pages)
    rows = train_rows(recipe(pages, tmp_path, "data.fields=['text', 'both']"), data)
    assert rows.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    half = len(rows) // 2
    for text, both in zip(rows.select(range(half)), rows.select(range(half, 2 * half)), strict=True):
        for column in ("negative_1", "negative_2"):
            if both[column] is None:
                assert text[column] is None
            else:
                assert text[column] == {"text": both[column]["text"], "image": None}
                assert both[column]["image"]


def test_without_mined_pages_an_encoder_is_told_before_it_is_loaded(pages: Path, tmp_path: Path) -> None:
    import shutil

    bare = Path(shutil.copytree(pages, tmp_path / "bare"))
    (bare / "negatives.parquet").unlink()
    with pytest.raises(DataError, match="sightline mine"):
        run_recipe(recipe(bare, tmp_path / "run", "model.name=absent"))
    # A reranker draws other rows' documents, as it does for tables.
    plan = recipe(bare, tmp_path / "run", 'model.kind="reranker"')
    assert PageMaterial(plan).rows().column_names == ["anchor", "positive"]
    assert "negative_2" in PageMaterial(recipe(pages, tmp_path, 'model.kind="reranker"')).rows().column_names


def test_negatives_of_a_table_are_columns(tmp_path: Path) -> None:
    plan = recipe_from(
        {
            "model": {"name": str(MINILM)},
            "data": {"dataset": "table.jsonl", "columns": ["q", "d"], "negatives": 2},
            "output": {"dir": str(tmp_path)},
        },
        source="r.toml",
    )
    from sightline.runs.encoders import load_encoder

    with pytest.raises(ConfigError, match=r"data\.negatives is for a reranker"):
        load_encoder(plan)


def test_questions_are_chosen_by_where_they_come_from(tmp_path: Path) -> None:
    data = mined_pages(tmp_path)
    page = next(iter(Dataset.load(data).relevant("train").values())).pop()
    document, number = page.split("#p")
    add_questions(
        data,
        [
            Question(origin, f"made, {origin}", document, (int(number),), origin=origin)
            for origin in ("offline", "model:a", "model:b")
        ],
    )

    def asked(*origins: str) -> set[str]:
        chosen = ", ".join(f'"{origin}"' for origin in origins)
        plan = recipe(data, tmp_path, f"data.origins=[{chosen}]", "data.negatives=unset")
        return set(train_rows(plan, Dataset.load(data))["anchor"])

    assert asked("offline") == {"made, offline"}
    assert asked("model:b", "offline") == {"made, model:b", "made, offline"}
    assert asked("model") == {"made, model:a", "made, model:b"}
    assert asked() == asked("person", "model", "offline")
    assert len(asked("person")) == len(asked()) - 3
    with pytest.raises(
        DataError, match="to train on from modal; there are those from model:a, model:b, offline, person"
    ):
        asked("modal")
