"""What counts as the same value where a batch is to hold no duplicates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sightline.compat.contents import Contents
from sightline.training.rows import as_rows


class Place(os.PathLike[str]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_whatever_a_column_may_hold(tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    Image.effect_noise((16, 16), 50).save(image)
    sound = np.linspace(-1, 1, 400, dtype=np.float32)
    # Values that are alike, a line of them; no two lines are.
    lines: list[list[Any]] = [
        ["a pump", "a pump"],
        [image, Place(image), {"bytes": None, "path": str(image)}],
        [torch.from_numpy(sound), sound, torch.tensor(sound, requires_grad=True)],
        [{"array": torch.from_numpy(sound), "sampling_rate": 8000}, {"array": sound, "sampling_rate": 8000}],
        [b"some bytes", bytearray(b"some bytes"), memoryview(b"some bytes")],
        [Path("nowhere.png")],
        [Path("nowhere else.png")],
    ]
    values = [(number, value) for number, line in enumerate(lines) for value in line]
    rows = as_rows([{"value": value} for _, value in values])
    contents = Contents(rows, range(len(values)), ["value"])
    for place, (line, _) in enumerate(values):
        same = [other for other in range(len(values)) if contents[other] == contents[place]]
        assert [values[other][0] for other in same] == [line] * len(lines[line]), values[place]
