"""Recipes: reading, overriding, refusing, writing back."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.config.load import dump_recipe, load_recipe, recipe_from
from sightline.errors import ConfigError

MINIMAL = """
[model]
name = "some/model"
[data]
dataset = "data/pages"
[output]
dir = "runs/x"
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(MINIMAL)
    return path


def test_minimal_recipe_inherits_the_rest(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert recipe.model.name == "some/model"
    assert recipe.source == str(recipe_file)
    assert recipe.training.given() == {}
    assert recipe.evaluated_fields == ["both"]
    assert recipe.evaluated_dims is None


def test_overrides_take_the_type_of_their_field(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        [
            "training.learning_rate=1e-4",
            "training.num_train_epochs=2",
            "training.bf16=True",
            "model.revision=12",
            "model.prompts.query=find: ",
            "model.model_kwargs.rope_scaling={factor = 2.0}",
            "loss.matryoshka.dims=64,256",
            "training.adam_beta2=0.98",
            "training.report_to=none",
        ],
    )
    assert recipe.training.learning_rate == 1e-4
    assert recipe.training.num_train_epochs == 2.0
    assert isinstance(recipe.training.num_train_epochs, float)
    assert recipe.training.bf16 is True
    assert recipe.model.revision == "12"
    assert recipe.model.prompts == {"query": "find:"}
    assert recipe.model.model_kwargs == {"rope_scaling": {"factor": 2.0}}
    assert recipe.loss.matryoshka is not None
    assert recipe.evaluated_dims == [256, 64]
    assert recipe.training.given()["adam_beta2"] == 0.98
    assert recipe.training.report_to == "none"


def test_quoted_text_keeps_its_spaces(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ['model.prompts.query="find: "'])
    assert recipe.model.prompts == {"query": "find: "}


def test_unset_takes_a_key_out(recipe_file: Path) -> None:
    recipe_file.write_text(MINIMAL + "[loss.matryoshka]\ndims = [64]\n[training]\nseed = 3\n")
    recipe = load_recipe(recipe_file, ["loss.matryoshka=unset", "training.seed=unset"])
    assert recipe.loss.matryoshka is None
    assert recipe.training.seed is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.datset=x", ["data.datset", "did you mean data.dataset?"]),
        ("modle.name=x", ["modle", "did you mean model?"]),
        ("training.learning_rate=fast", ["training.learning_rate", "must be a number", "'fast'"]),
        ("training.max_steps=1.5", ["training.max_steps", "whole number", "1.5"]),
        ("data.fields=pictures", ["data.fields", "'text', 'image', 'both'"]),
        ("training.bf16=1", ["training.bf16", "true or false"]),
        ("data.dataset.deeper=1", ["data.dataset is a value"]),
        ("learning_rate", ["key=value"]),
        ("=3", ["key=value"]),
        ("loss.matryoshka.dims=[64, true]", ["loss.matryoshka.dims[1]", "whole number"]),
    ],
)
def test_wrong_overrides_are_named(recipe_file: Path, override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe_file, [override])
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model\n", ["not valid TOML"]),
        ('[model]\nname="m"\n[data]\ndataset="d"\n', ["[output] table is missing"]),
        ('[model]\n[data]\ndataset="d"\n[output]\ndir="o"', ["model.name is missing"]),
        (MINIMAL + "[loss]\ntemperature = 'low'\n", ["loss.temperature", "a number", "'low'"]),
        (MINIMAL + "[loss.matryoshka]\ndimensions = [4]\n", ["loss.matryoshka.dimensions"]),
        (MINIMAL + "loss = 3\n", ["unknown key output.loss"]),
        (MINIMAL + "source = 'x'\n", ["unknown key output.source"]),
        ("source = 'x'\n" + MINIMAL, ["unknown key source"]),
        (MINIMAL + "[training]\nothers = 3\nseed = 'x'\n", ["training.seed"]),
    ],
)
def test_wrong_files_name_file_and_key(recipe_file: Path, text: str, words: list[str]) -> None:
    recipe_file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe_file)
    assert str(recipe_file) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe(tmp_path / "absent.toml")


def test_resolved_recipe_reads_back_the_same(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        recipe_file, ["loss.matryoshka.dims=[64, 32]", "training.adam_beta2=0.5", "model.prompts.query='q: '"]
    )
    path = tmp_path / "deep" / "resolved.toml"
    dump_recipe(recipe, path, inherited={"training.seed": 42, "training.strange": object()}, note="a\nb")
    assert path.read_text().startswith("# a\n# b\n")
    again = load_recipe(path)
    assert again.model == recipe.model
    assert again.loss == recipe.loss
    assert again.training.seed == 42
    assert again.training.given() == {**recipe.training.given(), "seed": 42}


def test_recipe_from_does_not_change_its_table() -> None:
    table = {"model": {"name": "m"}, "data": {"dataset": "d"}, "output": {"dir": "o"}}
    recipe_from(table, ["model.name=n", "training.seed=1"])
    assert table == {"model": {"name": "m"}, "data": {"dataset": "d"}, "output": {"dir": "o"}}


def test_rates_and_rest_by_name(recipe_file: Path) -> None:
    from sightline.runs.settings import training_arguments

    overrides = [
        "training.learning_rates.image=1e-4",
        'training.freeze=["text"]',
        "lora.r=4",
        "lora.merge=true",
    ]
    recipe = load_recipe(recipe_file, overrides)
    arguments = training_arguments(recipe)
    assert arguments.learning_rates == {"image": 1e-4}
    assert arguments.freeze == ["text"]
    assert recipe.lora is not None
    assert (recipe.lora.r, recipe.lora.merge) == (4, True)
    with pytest.raises(ConfigError, match="must be a number from 0"):
        training_arguments(load_recipe(recipe_file, ["training.learning_rates.image=-1"]))
