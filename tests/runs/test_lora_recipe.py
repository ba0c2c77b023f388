"""A recipe with `[lora]`, from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.config.load import load_recipe, recipe_from
from sightline.config.recipe import Recipe
from sightline.errors import ConfigError
from sightline.models.encoder import Encoder
from sightline.runs.train import run_recipe
from support import page_datasets
from support.adapted import trained
from support.fixtures import TEXTS

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six one-page PDFs, two of them held out."""
    return page_datasets.one_page_each(tmp_path_factory.mktemp("pages"), WORDS, held_out=2)


def recipe(model: Path, pages: Path, output: Path, lora: dict[str, Any]) -> Recipe:
    return recipe_from(
        {
            "model": {"name": str(model)},
            "data": {"dataset": str(pages), "fields": "text"},
            "training": {"max_steps": 2, "per_device_train_batch_size": 3, "dataloader_num_workers": 0},
            "output": {"dir": str(output), "report": False},
            "evaluation": {"bm25": False},
            "lora": lora,
        },
        source="r.toml",
    )


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_an_adapter_is_trained_and_saved(
    merge: bool, tiny: Callable[[str], Path], pages: Path, tmp_path: Path
) -> None:
    done = run_recipe(recipe(tiny("bert"), pages, tmp_path / "run", {"r": 2, "dropout": 0.1, "merge": merge}))
    assert (done.model / "adapter_model.safetensors").exists() is not merge
    # The encoder returned is the one that was saved: an adapter in a frozen model, or an ordinary model.
    assert any(".lora_" in name for name in trained(done.encoder)) is not merge
    assert (trained(done.encoder) == {name for name, _ in done.encoder.named_parameters()}) is merge
    untuned = Encoder.from_pretrained(tiny("bert"), device="cpu").encode(TEXTS).values
    found = Encoder.from_pretrained(done.model, device="cpu").encode(TEXTS).values
    assert torch.allclose(found, done.encoder.encode(TEXTS).values, atol=1e-6)
    assert not torch.equal(found, untuned)
    # The resolved recipe gives the same run, the adapter's random start included.
    again = load_recipe(tmp_path / "run" / "resolved.toml", [f"output.dir={tmp_path / 'again'}"])
    assert again.lora == recipe(tiny("bert"), pages, tmp_path, {"r": 2, "dropout": 0.1, "merge": merge}).lora
    second = run_recipe(again)
    for name, weight in done.encoder.state_dict().items():
        assert torch.equal(second.encoder.state_dict()[name], weight), name


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"parts": ["vision"]}, r"r\.toml: \[lora\]: BertModel has no vision part"),
        ({"parts": ["images"]}, r"r\.toml: \[lora\]: there is no part 'images'"),
        ({"routes": ["image"]}, r"r\.toml: \[lora\]: the model has no route 'image'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(
    lora: dict[str, Any], words: str, tiny: Callable[[str], Path], pages: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        run_recipe(recipe(tiny("bert"), pages, tmp_path / "run", lora))
    assert not (tmp_path / "run" / "resolved.toml").exists()


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown key lora\.rank"):
        recipe_from({"lora": {"rank": 3}}, source="r.toml")
