"""A recipe with a guide by its name: loaded, asked in training, and told again in `resolved.toml`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.config.load import load_recipe, recipe_from
from sightline.config.recipe import Recipe
from sightline.errors import ConfigError
from sightline.losses.contrastive import InfoNCE
from sightline.losses.joint import FalseNegatives
from sightline.models.encoder import Encoder
from sightline.runs.losses import build_loss
from sightline.runs.more import with_losses
from sightline.runs.train import run_recipe
from support import page_datasets

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins")


def recipe(loss: dict[str, Any], *, model: str = "m", pages: str = "pages", run: str = "run") -> Recipe:
    return recipe_from(
        {
            "model": {"name": model},
            "data": {"dataset": pages, "fields": "text"},
            "loss": loss,
            "training": {"max_steps": 2, "per_device_train_batch_size": 3, "dataloader_num_workers": 0},
            "output": {"dir": run, "report": False},
            "evaluation": {"bm25": False},
        },
        source="r.toml",
    )


def test_a_guide_finds_false_negatives() -> None:
    assert build_loss(recipe({"guide": "g"}), "cosine") == InfoNCE(false_negatives=FalseNegatives())
    table = {"margin": 0.05, "relative": True}
    loss = build_loss(recipe({"guide": "g", "false_negatives": table}), "cosine")
    assert loss == InfoNCE(false_negatives=FalseNegatives(0.05, relative=True))


def test_what_has_no_use_for_it_says_so() -> None:
    with pytest.raises(ConfigError, match=r"r\.toml: loss\.guide: the loss 'triplet' has no use for a guide"):
        build_loss(recipe({"name": "triplet", "guide": "g"}), "cosine")
    more = {"other": {"dataset": "d", "columns": ["a", "b"], "loss": {"guide": "g"}}}
    plan = recipe_from(
        {"model": {"name": "m"}, "data": {"dataset": "d"}, "output": {"dir": "run"}, "more": more},
        source="r.toml",
    )
    with pytest.raises(ConfigError, match=r"r\.toml: more\.other\.loss\.guide: a run has one guide"):
        with_losses(plan, InfoNCE(), "cosine")


def test_it_is_asked_in_training(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pages = page_datasets.one_page_each(tmp_path, WORDS, held_out=2)
    model, output = str(tiny("bert")), tmp_path / "run"
    # A margin of 2 leaves no negative below it, so that nothing is learnt and the weights stay.
    table = {"margin": 2.0}
    done = run_recipe(
        recipe({"guide": model, "false_negatives": table}, model=model, pages=str(pages), run=str(output))
    )
    assert "loss:GISTEmbedLoss" in (done.model / "README.md").read_text()
    again = load_recipe(output / "resolved.toml")
    assert again.loss.guide == model
    assert build_loss(again, "cosine") == InfoNCE(false_negatives=FalseNegatives(2.0))
    plain = run_recipe(recipe({}, model=model, pages=str(pages), run=str(tmp_path / "plain")))
    before = Encoder.from_pretrained(model, device="cpu").state_dict()

    def moved(encoder: Any) -> float:
        return max(
            float((weight - before[name]).abs().max()) for name, weight in encoder.state_dict().items()
        )

    assert moved(plain.encoder) > 0
    assert moved(done.encoder) == 0
