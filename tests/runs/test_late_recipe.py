"""A recipe that makes a late-interaction model of a bare checkpoint, from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.config.load import load_recipe, recipe_from
from sightline.config.recipe import Recipe
from sightline.errors import CheckpointError, ConfigError
from sightline.models.encoder import Encoder
from sightline.runs.check import shape_of
from sightline.runs.encoders import load_encoder
from sightline.runs.train import run_recipe
from support import page_datasets
from support.fixtures import TEXTS

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins")
RECIPE = """
[model]
name = "{model}"
multi_vector = 24

[data]
dataset = "{pages}"
fields = "text"

[loss]
temperature = 1.0

[training]
max_steps = 2
per_device_train_batch_size = 3
dataloader_num_workers = 0
learning_rate = 1e-3

[evaluation]
bm25 = false

[output]
dir = "{output}"
report = false
"""


def recipe(model: Any, **values: Any) -> Recipe:
    tables = {"model": {"name": str(model)} | values, "data": {"dataset": "pages"}, "output": {"dir": "run"}}
    return recipe_from(tables, source="r.toml")


def test_it_is_trained_saved_and_made_again(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pages = page_datasets.one_page_each(tmp_path, WORDS, held_out=2)
    file = tmp_path / "late.toml"
    file.write_text(RECIPE.format(model=tiny("bert"), pages=pages, output=tmp_path / "run"))
    done = CliRunner().invoke(app, ["train", str(file)], prog_name="sightline")
    assert done.exit_code == 0, done.output
    found = Encoder.from_pretrained(tmp_path / "run" / "final", device="cpu")
    assert found.multi_vector
    assert found.similarity_fn_name == "maxsim"
    vectors = found.encode_document(TEXTS)
    assert vectors.values.shape[-1] == 24
    theirs = MultiVectorEncoder(str(tmp_path / "run" / "final"), device="cpu")
    for one, other in zip(vectors.tokens(), theirs.encode_document(TEXTS), strict=True):
        assert torch.allclose(one, torch.as_tensor(other), atol=1e-5)
    resolved = (tmp_path / "run" / "resolved.toml").read_text()
    assert "multi_vector = 24" in resolved
    assert 'similarity = "maxsim"' in resolved
    # The projection starts the same again.
    again = run_recipe(load_recipe(tmp_path / "run" / "resolved.toml", [f"output.dir={tmp_path / 'again'}"]))
    assert torch.equal(again.encoder.encode_document(TEXTS).values, vectors.values)


def test_dimensions(tiny: Callable[[str], Path]) -> None:
    for asked, dim in ((True, 128), (40, 40)):
        assert load_encoder(recipe(tiny("bert"), multi_vector=asked)).embedding_dim == dim
        assert shape_of(recipe(tiny("bert"), multi_vector=asked)).embedding_dim == dim
    assert not load_encoder(recipe(tiny("bert"))).multi_vector


def test_what_cannot_be(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    late = Encoder.from_pretrained(tiny("bert"), device="cpu", multi_vector=40)
    late.save_pretrained(tmp_path / "late")
    assert load_encoder(recipe(tmp_path / "late", multi_vector=40)).embedding_dim == 40
    with pytest.raises(CheckpointError, match="have 40 components, not 64: it has a projection of its own"):
        load_encoder(recipe(tmp_path / "late", multi_vector=64))
    with pytest.raises(ConfigError, match=r"r\.toml: model\.multi_vector must be at least 1, not -3"):
        load_encoder(recipe(tiny("bert"), multi_vector=-3))
    with pytest.raises(ConfigError, match=r"model\.multi_vector must be true or false or a whole number"):
        recipe(tiny("bert"), multi_vector="yes")
    routes = {"text": str(tiny("bert")), "image": str(tiny("vit"))}
    with pytest.raises(ConfigError, match=r"model\.multi_vector is for a single model"):
        load_encoder(recipe("", routes=routes, multi_vector=True))
