"""Recordings longer than a model's window: the first of a call is named, with what is missed of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support import tiny_media

RATE = tiny_media.RATE


def clip(seconds: float, seed: int = 0) -> dict[str, Any]:
    noise = np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * RATE)).astype(np.float32)
    return {"array": noise, "sampling_rate": RATE}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "lasts" in record.getMessage()]
    caplog.clear()
    return found


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (tiny_media.whisper, "the audio lasts 3.0 s, and the model hears the first 2 s;"),
        (tiny_media.clap, "the audio lasts 3.0 s, and the model hears a crop of 1 s;"),
        (tiny_media.qwen2_5_omni, "the audio lasts 3.0 s, and the model hears the first 2 s;"),
    ],
    ids=["whisper", "clap", "omni"],
)
def test_each_call_names_its_first(
    make: Any, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder.from_pretrained(make(tmp_path / "bare"), device="cpu")
    with caplog.at_level(logging.WARNING):
        encoder.encode([clip(1.0), clip(0.5)])
        assert told(caplog) == []
        for _ in range(2):
            encoder.encode([clip(1.0), clip(3.0, 1), clip(4.0, 2)])
            (line,) = told(caplog)
            assert words in line
            assert line.startswith("input 1:"), line


def test_what_is_told_is_so(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny_media.whisper(tmp_path / "bare"), device="cpu")
    long = clip(3.0)
    first = {"array": long["array"][: 2 * RATE], "sampling_rate": RATE}
    heard, beginning = encoder.encode([long]).values, encoder.encode([first]).values
    # The spectrogram's last frame alone looks over the edge.
    assert float((heard - beginning).norm() / heard.norm()) < 1e-2


def test_a_clap_that_sees_the_whole_clip_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder.from_pretrained(tiny_media.clap(tmp_path / "bare", fusion=True), device="cpu")
    with caplog.at_level(logging.WARNING):
        encoder.encode([clip(3.0)])
    assert told(caplog) == []


def test_training_names_row_and_column(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = Encoder.from_pretrained(tiny_media.clap(tmp_path / "bare"), device="cpu")
    rows = [{"text": f"sound {n}", "sound": clip(0.5 if n < 2 else 3.0, n)} for n in range(4)]
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=2, save_strategy="no",
        disable_tqdm=True, dataloader_num_workers=0,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        Trainer(encoder, InfoNCE(), train_dataset=rows, args=args).train()
    lines = told(caplog)
    assert "row 2" in lines[0]
    assert "'sound'" in lines[0]
