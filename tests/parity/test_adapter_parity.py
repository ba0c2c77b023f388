"""Adapters that Sentence Transformers 6.2 saved and we load, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, TaskType
from PIL import Image
from sentence_transformers import CrossEncoder, SentenceTransformer

from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support import tiny_rerankers
from support.adapted import stir
from support.fixtures import TEXTS
from support.tiny_rerankers import PAIRS


def near(ours: np.ndarray, theirs: np.ndarray, limit: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= limit


@pytest.mark.parametrize("name", ["bert", "qwen3", "vit", "clip"])
def test_encoders_both_ways(
    name: str, tiny: Callable[[str], Path], pictures: list[Image.Image], tmp_path: Path
) -> None:
    theirs = SentenceTransformer(str(tiny(name)), device="cpu")
    untrained = {
        kind: theirs.encode(inputs)
        for kind, inputs in (("text", TEXTS), ("image", pictures))
        if theirs.supports(kind)
    }
    targets = {"bert": ["query", "dense"], "vit": "all-linear"}.get(name, ["q_proj", "v_proj"])
    theirs.add_adapter(
        LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, r=4, lora_alpha=8, target_modules=targets)
    )
    stir(theirs)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = Encoder.from_pretrained(tmp_path / "theirs", device="cpu")
    for kind, before in untrained.items():
        inputs = TEXTS if kind == "text" else pictures
        wanted = theirs.encode(inputs)
        assert np.abs(wanted - before).max() > 1e-3, "the adapter does something"
        near(ours.encode(inputs).numpy(), wanted)
    # Ours, and what became of theirs.
    fresh = Encoder.from_pretrained(tiny(name), device="cpu")
    fresh.add_adapter(LoRA(r=3))
    stir(fresh, seed=5)
    for number, encoder in enumerate((fresh, ours)):
        for merge in (False, True):
            folder = tmp_path / f"ours-{number}-{merge}"
            encoder.save_pretrained(folder, merge=merge)
            they_read = SentenceTransformer(str(folder), device="cpu")
            for kind in untrained:
                inputs = TEXTS if kind == "text" else pictures
                near(encoder.encode(inputs).numpy(), they_read.encode(inputs))


@pytest.mark.parametrize("name", ["bert_scores", "qwen3_scores"])
def test_rerankers_both_ways(name: str, tmp_path: Path) -> None:
    base = getattr(tiny_rerankers, name)(tmp_path / "base")
    theirs = CrossEncoder(str(base), device="cpu")
    head = "classifier" if name == "bert_scores" else "score"
    theirs.add_adapter(LoraConfig(r=4, target_modules=["query", "q_proj"], modules_to_save=[head]))
    stir(theirs)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    near(Reranker.from_pretrained(tmp_path / "theirs", device="cpu").predict(PAIRS), theirs.predict(PAIRS))
    ours = Reranker.from_pretrained(base, device="cpu")
    ours.add_adapter(LoRA(r=2))
    stir(ours)
    for merge in (False, True):
        ours.save_pretrained(tmp_path / f"ours-{merge}", merge=merge)
        they_read = CrossEncoder(str(tmp_path / f"ours-{merge}"), device="cpu")
        near(ours.predict(PAIRS), they_read.predict(PAIRS))


def test_activation_of_an_adapted_reranker(tmp_path: Path) -> None:
    base = tiny_rerankers.bert_scores(tmp_path / "base")
    ours = Reranker.from_pretrained(base, device="cpu", activation=torch.nn.Identity())
    ours.add_adapter()
    ours.save_pretrained(tmp_path / "ours")
    assert isinstance(CrossEncoder(str(tmp_path / "ours"), device="cpu").activation_fn, torch.nn.Identity)
    assert isinstance(Reranker.from_pretrained(tmp_path / "ours", device="cpu").activation, torch.nn.Identity)
