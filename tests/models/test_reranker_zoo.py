"""Every vision-language architecture becomes a reranker: asked for a word, pooled, saved and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline.inputs.pairs import parse_pair
from sightline.models.reranker import Reranker
from support.zoo import qwen, vision_language

BUILDERS = {
    builder.__name__: builder
    for builder in (
        qwen.qwen2_vl, qwen.qwen2_5_vl, qwen.qwen3_5, qwen.qwen3_vl, vision_language.idefics3,
        vision_language.smolvlm, vision_language.gemma3, vision_language.llava, vision_language.llava_onevision,
        vision_language.internvl,
    )
}  # fmt: skip
# Their tokenizers know no yes and no; digits are words of every one.
OPTIONS = {"device": "cpu", "answers": ("1", "0"), "processor_kwargs": {"model_max_length": 4096}}


def log_odds(reranker: Reranker, pair: object) -> float:
    """As transformers computes it: all logits, of which two are taken at the last position."""
    features = reranker.preprocessor(parse_pair(pair, modalities=reranker.modalities)).values
    rows = {name: value.unsqueeze(0) if value.ndim == 1 else value for name, value in features.items()}
    normalization = reranker.backbone.processor.normalization
    if "pixel_values" in rows and normalization is not None:
        rows["pixel_values"] = normalization(rows["pixel_values"])
    yes, no = reranker.parts[1].answers
    with torch.no_grad():
        logits_V = reranker.backbone.model(**rows).logits[0, -1]
    return float(logits_V[yes] - logits_V[no])


@pytest.mark.parametrize("name", BUILDERS)
def test_a_vision_language_model_is_a_reranker(
    name: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    folder = BUILDERS[name](tmp_path / "bare")
    pairs = [("costs", pictures[0]), (pictures[1], "a page"), ("a", "a table"), (pictures[0], pictures[3])]
    reranker = Reranker.from_pretrained(folder, **OPTIONS)
    assert {"text", "image"} <= set(reranker.modalities)
    wanted = np.array([log_odds(reranker, pair) for pair in pairs])
    found = reranker.predict(pairs, activation=nn.Identity())
    assert wanted.std() > 1e-3
    assert np.abs(found - wanted).max() <= 1e-5
    reranker.save_pretrained(tmp_path / "saved")
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.abs(again.predict(pairs, activation=nn.Identity()) - found).max() <= 1e-6
    pooled = Reranker.from_pretrained(folder, head="pooled", **OPTIONS)
    assert np.abs(pooled.predict(pairs, activation=nn.Identity()) - found).max() <= 1e-5
