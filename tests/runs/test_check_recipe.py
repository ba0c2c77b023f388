"""The data doctor before training: what stops a run, what is told, how items fit the model, what a run would take."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sightline.config.load import recipe_from
from sightline.config.recipe import Recipe
from sightline.errors import CheckpointError, DataError
from sightline.inputs.pairs import parse_pair
from sightline.models.reranker import Reranker
from sightline.models.skeleton import encoder_shape, reranker_shape
from sightline.runs.check import check_data
from sightline.runs.estimate import told_time
from sightline.runs.train import run_recipe
from support.sick_datasets import Builder, healthy, jpeg, picture, text_of
from support.tiny_answers import qwen3_answers

Tiny = Callable[[str], Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def recipe(model: Path, data: Path, output: Path, *overrides: str, fields: str = "text") -> Recipe:
    table: dict[str, Any] = {
        "model": {"name": str(model)},
        "data": {"dataset": str(data), "fields": fields},
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "dataloader_num_workers": 0},
        "evaluation": {"bm25": False, "untuned": False},
        "output": {"dir": str(output), "report": False, "verify": False},
    }
    return recipe_from(table, overrides, source="r.toml")


def run(plan: Recipe, **options: Any) -> str:
    told = io.StringIO()
    run_recipe(plan, console=Console(file=told, width=300), **options)
    return told.getvalue()


def broken(root: Path) -> Builder:
    builder = healthy(root)
    builder.ask("nowhere", "Where is it?", "a.pdf", 9)
    return builder


def test_errors_stop_a_run_before_its_model_is_loaded(tmp_path: Path) -> None:
    data = broken(tmp_path / "data").write()
    with pytest.raises(DataError) as caught:
        run_recipe(recipe(tmp_path / "no model", data, tmp_path / "run"))
    for words in (
        "1 kinds of errors",
        "page of a question is missing, nowhere",
        "sightline check",
        "--no-check",
    ):
        assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_page_matters_where_pages_are_seen(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    data = builder.write()
    (data / builder.documents[0].pages[0].image).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"cannot be read, a\.pdf#p0"):
        run_recipe(recipe(tmp_path / "no model", data, tmp_path / "run", fields="image"))
    # A model of text never opens it, so what is wrong is that the model is not there.
    with pytest.raises(CheckpointError):
        run_recipe(recipe(tmp_path / "no model", data, tmp_path / "run", fields="text"))


def test_warnings_are_told_in_a_few_lines(tmp_path: Path, tiny: Tiny) -> None:
    builder = healthy(tmp_path / "data")
    builder.document("e.pdf", "test", [(jpeg(picture(0)), text_of(0))])
    builder.ask("leaked", "What does the copy say?", "e.pdf", 0)
    builder.ask("twice", builder.questions[0].query, "a.pdf", 0)
    data = builder.write()
    told = run(recipe(tiny("bert"), data, tmp_path / "run"))
    lines = [line for line in told.splitlines() if line.startswith(("warning:", "all of it:"))]
    assert [line.split(":")[0] for line in lines] == ["warning", "warning", "all of it"]
    assert lines[-1] == f"all of it: sightline check {data}"
    told = run(recipe(tiny("bert"), data, tmp_path / "again"), check=False)
    assert "warning:" not in told


def test_a_shape_prepares_items_as_the_model_does(tiny: Tiny, tiny_encoder: Any, pictures: Any) -> None:
    from sightline.inputs.parse import parse

    for name, value in (("bert", "pump, valves"), ("qwen3_vl", {"text": "a page", "image": pictures[2]})):
        shape, model = encoder_shape(tiny(name)), tiny_encoder(name)
        backbones = [one.model for one in shape.backbones().values()]
        assert all(weight.device.type == "meta" for one in backbones for weight in one.parameters())
        assert (shape.modalities, shape.embedding_dim) == (model.modalities, model.embedding_dim)
        ours, theirs = (one.preprocessor(parse(value), role="document") for one in (shape, model))
        assert (ours.cost, ours.group) == (theirs.cost, theirs.group)
        assert all(torch.equal(ours.values[key], tensor) for key, tensor in theirs.values.items())


def test_items_against_the_model(tmp_path: Path, tiny: Tiny) -> None:
    builder = healthy(tmp_path / "data")
    builder.document("e.pdf", "train", [(jpeg(picture(50)), "")])
    builder.ask("unseen", "What is on the scan?", "e.pdf", 0)
    builder.ask("long", text_of(9, 200), "a.pdf", 0)
    data = builder.write()
    plan = recipe(tiny("bert"), data, tmp_path / "run")
    found = check_data(recipe=plan).diagnosis.findings
    kinds = {one.kind: one for one in found}
    assert kinds["long-question"].places == ("long",)
    assert kinds["no-text"].places == ("unseen",)
    assert "64 tokens" in kinds["long-question"].message
    sizes = [one for one in found if one.kind == "size"]
    assert [one.where for one in sizes] == ["questions", "texts"]
    assert "the model reads 64 tokens" in sizes[0].message
    plan = recipe(tiny("qwen3_vl"), data, tmp_path / "run", fields="image")
    kinds = {one.kind: one for one in check_data(recipe=plan).diagnosis.findings}
    assert kinds["reduced"].count == 9  # 240 x 320 pixels, of which the tiny model sees 56 x 56
    assert "240 x 320 pixels become" in kinds["reduced"].message


def test_data_are_checked_where_the_model_is_not_at_hand(tmp_path: Path) -> None:
    data = broken(tmp_path / "data").write()
    diagnosis = check_data(
        recipe=recipe(tmp_path / "no model", data, tmp_path / "run"), estimate=True
    ).diagnosis
    assert {one.kind for one in diagnosis.findings} == {"missing-page", "not-examined"}


def test_what_a_run_would_take(tmp_path: Path, tiny: Tiny) -> None:
    data = healthy(tmp_path / "data").write()
    plan = recipe(tiny("bert"), data, tmp_path / "run", "training.max_steps=40")
    diagnosis = check_data(recipe=plan, estimate=True).diagnosis
    time, memory = (case for case in diagnosis.cases if case.kind == "estimate")
    assert time.where.startswith("40 steps on ")
    assert "measured steps" in time.message
    assert "GB at most" in memory.message
    assert not (tmp_path / "run").exists()


def test_the_interval_is_students() -> None:
    # Steps of 1, 2 and 3 s: 2 s on average, 1 s apart; t for 2 degrees of freedom is 4.30.
    assert told_time([0.0, 1.0, 3.0, 6.0], 300).startswith(
        "estimated 10 min of training (5 min to 22 min, 95 %)"
    )
    assert told_time([0.0, 2.0], 10) == "estimated 20 s, from one step of 2.00 s"
    assert told_time([0.0], 10) == "too few steps to estimate the time of one"


def test_pairs_against_a_reranker(tmp_path: Path, tiny: Tiny) -> None:
    builder = healthy(tmp_path / "data")
    builder.ask("long", text_of(9, 200), "a.pdf", 0)
    data = builder.write()
    plan = recipe(tiny("bert"), data, tmp_path / "run", 'model.kind="reranker"')
    found = check_data(recipe=plan).diagnosis.findings
    (size,) = (one for one in found if one.kind == "size")
    assert size.where == "pairs"
    assert "64 at most; the model reads 64 tokens" in size.message
    (cut,) = (one for one in found if one.kind == "cut")
    assert "long with a.pdf#p0" in cut.places
    assert "the pair is cut at 64 tokens" in cut.message
    assert "not-examined" not in {one.kind for one in found}
    plan = recipe(tmp_path / "no model", data, tmp_path / "run", 'model.kind="reranker"')
    assert "not-examined" in {one.kind for one in check_data(recipe=plan).diagnosis.findings}


def test_a_rerankers_shape_prepares_pairs_as_the_model_does(tmp_path: Path, tiny: Tiny) -> None:
    texts = ("which pump?", "a diagram of the pump with its valves")
    for folder in (tiny("bert"), qwen3_answers(tmp_path / "qwen3")):
        shape, model = reranker_shape(folder), Reranker.from_pretrained(folder, device="cpu")
        assert all(weight.device.type == "meta" for weight in shape.backbone.model.parameters())
        ours, theirs = (
            one.preprocessor(parse_pair(texts), prompt=one.prompt_for()) for one in (shape, model)
        )
        assert ours.cost == theirs.cost
        assert all(torch.equal(ours.values[key], tensor) for key, tensor in theirs.values.items())
