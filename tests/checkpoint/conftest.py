"""Fixtures of the checkpoint tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def bert(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a bare BERT, to be made into a checkpoint."""
    return shutil.copytree(tiny("bert"), tmp_path / "model")
