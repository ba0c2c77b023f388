"""Sound and video that cannot be used are found before the first step, with row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support import tiny_media

RATE = tiny_media.RATE
GOOD = {"array": np.ones(4_000, np.float32) / 3, "sampling_rate": RATE}
FILM = np.zeros((4, 32, 32, 3), np.uint8)


def trained(encoder: Encoder, rows: list[dict[str, Any]], folder: Path) -> None:
    arguments = TrainingArguments(output_dir=str(folder), max_steps=1, disable_tqdm=True, save_strategy="no")
    Trainer(encoder, InfoNCE(), train_dataset=rows, args=arguments).train()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"array": np.full(4_000, np.nan, np.float32), "sampling_rate": RATE}, "NaN or infinite samples"),
        ({"array": np.zeros(0, np.float32), "sampling_rate": RATE}, "empty"),
        ({"array": np.zeros(300, np.float32), "sampling_rate": RATE}, "needs at least 20 ms"),
        ({"array": np.zeros(4_000, np.float32)}, "sampling_rate"),
        (b"RIFF....WAVE", "damaged"),
        ("nowhere.wav", "no such file"),
        (FILM, "this model reads audio, not video"),
    ],
    ids=["nan", "empty", "short", "rate", "damaged", "missing", "video"],
)
def test_bad_sound_names_row_and_column(bad: Any, message: str, tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny_media.wav2vec2(tmp_path / "model"), device="cpu")
    rows = [{"anchor": GOOD, "spoken": GOOD}, {"anchor": GOOD, "spoken": bad}]
    with pytest.raises(DataError, match="1 of 2 rows") as caught:
        trained(encoder, rows, tmp_path / "run")
    assert "row 1, column 'spoken'" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 32, 32, 3), np.uint8), "empty"),
        ([], "empty"),
        ({"video": []}, "empty"),
        ({"array": [], "video_metadata": {"fps": 2}}, "no frames"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(40), "damaged|no frames|cannot be read"),
        (GOOD, "this model reads .*not audio"),
    ],
    ids=["array", "list", "dict", "metadata", "damaged", "audio"],
)
def test_bad_film_names_row_and_column(
    bad: Any, message: str, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu")
    rows = [{"anchor": "a pump", "film": FILM}, {"anchor": "a pump", "film": bad}]
    with pytest.raises(DataError, match=message) as caught:
        trained(encoder, rows, tmp_path / "run")
    assert "row 1, column 'film'" in str(caught.value)


def test_a_film_cut_off_by_the_length_limit_says_so(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(
        tiny("qwen3_vl"), device="cpu", processor_kwargs={"model_max_length": 16}
    )
    rows = [{"anchor": "a pump", "film": np.zeros((8, 64, 64, 3), np.uint8)}]
    with pytest.raises(DataError, match=r"row 0, column 'film'.*the limit of 16 tokens"):
        trained(encoder, rows, tmp_path / "run")
