"""A recipe from end to end, in one process: what is refused before anything is spent, and what is left behind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from rich.console import Console

from sightline.config.load import load_recipe, recipe_from
from sightline.config.recipe import Recipe, TrainingConfig
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
from sightline.errors import ConfigError, DataError
from sightline.runs.pages import train_rows
from sightline.runs.settings import training_arguments
from sightline.runs.train import run_recipe
from support import page_datasets
from support.fixtures import MINILM

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins", "volcanoes", "whales")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of eight one-page PDFs with a text layer, two of them held out."""
    return page_datasets.one_page_each(tmp_path_factory.mktemp("pages"), WORDS, held_out=2)


def recipe(pages: Path, output: Path, *overrides: str, **tables: dict[str, Any]) -> Recipe:
    table: dict[str, Any] = {
        "model": {"name": str(MINILM)},
        "data": {"dataset": str(pages), "fields": "text"},
        "training": {"max_steps": 2, "per_device_train_batch_size": 3, "dataloader_num_workers": 0},
        "output": {"dir": str(output)},
    }
    for name, values in tables.items():
        table[name] = {**table.get(name, {}), **values}
    return recipe_from(table, overrides, source="r.toml")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "training.learnig_rate=1",
            ["r.toml: unknown key training.learnig_rate", "did you mean training.learning_rate?"],
        ),
        ("training.adam_beta1=high", ["r.toml: training.adam_beta1 must be a number"]),
        ("training.output_dir=x", ["training.output_dir is decided by output.dir"]),
        ("training.lr_scheduler_type=wavy", ["r.toml: [training]:", "wavy"]),
        ("loss.matryoshka.dims=[512]", ["384 dimensions", "512"]),
        ("loss.temperature=0", ["r.toml: [loss]:", "temperature"]),
        ("loss.temprature=1", ["r.toml: ", "unknown key loss.temprature", "did you mean loss.temperature?"]),
        ("loss.margin=1", ["the loss 'infonce': unknown key loss.margin"]),
        ("loss.name=inforce", ["r.toml: loss.name", "did you mean 'infonce'?", "triplet"]),
        ("loss.similarity=3", ["r.toml: loss.similarity must be", "'cosine'"]),
    ],
)
def test_wrong_values_are_refused_by_file_and_key(
    pages: Path, tmp_path: Path, override: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_recipe(recipe(pages, tmp_path / "run", override))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_view_the_model_cannot_see_is_refused(pages: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='use fields "text"'):
        run_recipe(recipe(pages, tmp_path / "run", "data.fields=image"))


def test_a_dataset_without_questions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(picture).rectangle((5, 5, 30, 30), fill="red")
    picture.save(tmp_path / "in" / "a.png")
    ingest(tmp_path / "in", tmp_path / "out", workers=1, settings=IngestSettings(ocr="none"))
    with pytest.raises(DataError, match=r"(no split|no questions)"):
        run_recipe(recipe(tmp_path / "out", tmp_path / "run"))


def test_every_documented_argument_exists() -> None:
    import dataclasses

    from sightline.training.arguments import TrainingArguments

    known = {item.name for item in dataclasses.fields(TrainingArguments)}
    named = {item.name for item in dataclasses.fields(TrainingConfig)} - {"others"}
    assert named <= known


def test_arguments_come_from_the_recipe(pages: Path, tmp_path: Path) -> None:
    arguments = training_arguments(
        recipe(pages, tmp_path, "training.adam_beta2=0.9", "training.eval_steps=0.5")
    )
    assert (arguments.max_steps, arguments.adam_beta2, arguments.eval_steps) == (2, 0.9, 0.5)
    assert arguments.output_dir == str(tmp_path / "checkpoints")


def test_several_views_train_on_each_question_once_per_view(pages: Path, tmp_path: Path) -> None:
    dataset = Dataset.load(pages)
    rows = train_rows(recipe(pages, tmp_path, "data.fields=['text', 'image', 'both']"), dataset)
    assert len(rows) == 18
    assert rows.column_names == ["anchor", "positive"]
    kinds = [frozenset(name for name, value in row["positive"].items() if value) for row in rows]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        frozenset({"text"}): 6,
        frozenset({"image"}): 6,
        frozenset({"text", "image"}): 6,
    }
    assert len(train_rows(recipe(pages, tmp_path, "data.max_rows=4"), dataset)) == 4


def test_run_is_saved_told_and_resumed(pages: Path, tmp_path: Path) -> None:
    told = io.StringIO()
    settings = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    plan = recipe(pages, tmp_path / "run", training=settings, loss={"matryoshka": {"dims": [384, 64]}})
    done = run_recipe(plan, console=Console(file=told, width=200))
    assert [row.name for row in done.outcome.rows] == ["bm25", "untuned", "fine-tuned"]
    assert set(done.outcome.rows[-1].result.by_dim) == {384, 64}
    assert (done.model / "modules.json").exists()
    assert done.report is not None
    assert done.report.exists()
    for words in ("6 pairs to train on", "step 2/2  evaluation: ndcg@10", "inherited: model.dtype=float32"):
        assert words in told.getvalue()

    # The same recipe again would write over it; from the resolved one, told so, it may.
    with pytest.raises(ConfigError, match="finished run"):
        run_recipe(plan)
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(ConfigError, match="--resume"):
        run_recipe(plan)
    resolved = load_recipe(tmp_path / "run" / "resolved.toml", ["training.max_steps=3"])
    assert resolved.output.overwrite is False
    again = io.StringIO()
    run_recipe(resolved, console=Console(file=again, width=200), resume=True)
    assert "step 3/3" in again.getvalue()
    assert "step 2/3" not in again.getvalue()  # it went on after the second step
    assert (tmp_path / "run" / "results.json").exists()


def test_resolved_recipe_gives_the_same_model(pages: Path, tmp_path: Path) -> None:
    import torch

    first = run_recipe(recipe(pages, tmp_path / "a"))
    resolved = load_recipe(tmp_path / "a" / "resolved.toml", [f"output.dir={tmp_path / 'b'}"])
    second = run_recipe(resolved)
    for (name, one), other in zip(
        first.encoder.state_dict().items(), second.encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_a_checkpoint_keeps_its_dimension_cut(pages: Path, tmp_path: Path) -> None:
    from sightline.models.encoder import Encoder

    done = run_recipe(
        recipe(pages, tmp_path / "run", "model.truncate_dim=64", "loss.matryoshka.dims=[384,64]")
    )
    assert done.outcome.rows[-1].result.facts["embedding dimension"] == 384
    assert Encoder.from_pretrained(done.model).truncate_dim == 64
