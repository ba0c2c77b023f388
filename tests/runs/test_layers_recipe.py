"""A recipe with `[loss.layers]`: composed as it says, trained, and told again in `resolved.toml`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.config.load import load_recipe, recipe_from
from sightline.config.recipe import Recipe
from sightline.errors import ConfigError
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.layers import AdaptiveLayers
from sightline.runs.losses import build_loss, inherited_options
from sightline.runs.train import run_recipe
from support import page_datasets

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins")


def recipe(model: str, loss: dict[str, Any], **more: Any) -> Recipe:
    tables = {
        "model": {"name": model},
        "data": {"dataset": "pages", "fields": "text"},
        "output": {"dir": "run"},
        "loss": loss,
    }
    return recipe_from(tables | more, source="r.toml")


def test_layers_go_around_the_dimensions() -> None:
    plan = recipe("m", {"matryoshka": {"dims": [32, 8]}, "layers": {"layers_per_step": -1, "kl_weight": 0.5}})
    loss = build_loss(plan, "cosine")
    assert loss == AdaptiveLayers(Matryoshka(InfoNCE(), (32, 8)), layers_per_step=-1, kl_weight=0.5)
    assert inherited_options(plan, loss)["loss.temperature"] == 0.05
    alone = recipe("m", {"layers": {}})
    assert build_loss(alone, "cosine") == AdaptiveLayers(InfoNCE())
    assert inherited_options(alone, build_loss(alone, "cosine"))["loss.temperature"] == 0.05


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({"per_step": 1}, r"unknown key loss\.layers\.per_step"),
        ({"layer_weighting": "square"}, r"loss\.layers\.layer_weighting must be one of 'uniform'"),
        ({"layers_per_step": 0}, r"r\.toml: \[loss\]: layers_per_step must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(layers: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_loss(recipe("m", {"layers": layers}), "cosine")


def test_it_trains_and_is_written_down(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pages = page_datasets.one_page_each(tmp_path, WORDS, held_out=2)
    plan = recipe(
        str(tiny("bert")),
        {"layers": {}},
        data={"dataset": str(pages), "fields": "text"},
        training={"max_steps": 2, "per_device_train_batch_size": 3, "dataloader_num_workers": 0},
        output={"dir": str(tmp_path / "run"), "report": False},
        evaluation={"bm25": False},
    )
    done = run_recipe(plan)
    assert load_recipe(tmp_path / "run" / "resolved.toml").loss.layers == plan.loss.layers
    assert "loss:AdaptiveLayerLoss" in (done.model / "README.md").read_text()
