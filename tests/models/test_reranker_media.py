"""Rerankers over sound and video: on either side, in any company, saved and read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from sightline.models.reranker import Reranker
from support.tiny_answers import qwen3_vl_answers
from support.tiny_media import qwen2_5_omni, qwen2_audio


def sound(samples: int) -> dict[str, Any]:
    noise = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    return {"array": 0.1 * noise, "sampling_rate": 16_000}


def video(frames: int) -> dict[str, Any]:
    return {"video": np.random.default_rng(frames).integers(0, 256, (frames, 48, 48, 3), dtype=np.uint8)}


SOUNDS = [("word", sound(8_000)), (sound(16_000), "word"), ("a", "b"), (sound(8_000), sound(12_000))]
VIDEOS = [("sign", video(4)), (video(8), "sign"), ("a", "b"), (video(4), video(6))]


@pytest.mark.parametrize("head", ["answer", "pooled"])
@pytest.mark.parametrize(
    ("build", "pairs", "options"),
    [
        (qwen2_audio, SOUNDS, {"answers": ("1", "0")}),
        (qwen2_5_omni, SOUNDS, {"answers": ("1", "0")}),
        (qwen3_vl_answers, VIDEOS, {}),
    ],
)
def test_pairs_of_sound_and_video(
    build: Callable[[Path], Path], pairs: list[Any], options: Any, head: Any, tmp_path: Path
) -> None:
    reranker = Reranker.from_pretrained(build(tmp_path / "bare"), device="cpu", head=head, **options)
    together = reranker.predict(pairs, activation=nn.Identity())
    alone = np.concatenate([reranker.predict([pair], activation=nn.Identity()) for pair in pairs])
    assert together.std() > 1e-3
    assert np.abs(together - alone).max() <= 1e-5
    reranker.save_pretrained(tmp_path / "saved")
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.modalities == reranker.modalities
    assert np.abs(again.predict(pairs, activation=nn.Identity()) - together).max() <= 1e-5
