"""Torchvision for the oracles alone: Sentence Transformers cannot load many processors without it, Sightline can."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TORCHVISION = "torchvision==0.28.0"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "torchvision"


def torchvision_folder() -> str:
    """Where the oracle finds torchvision, installed there if need be; it is no dependency of ours."""
    if importlib.util.find_spec("torchvision") is not None:
        return "installed"
    folder = Path(os.environ.get("SIGHTLINE_TORCHVISION_DIR", CACHE))
    if not (folder / "torchvision").is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            install = ["install", "--quiet", "--no-deps", "--target", f"{aside}/new", TORCHVISION]
            done = subprocess.run(
                [sys.executable, "-m", "pip", *install], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.fail(
                    f"the oracle needs torchvision and pip could not fetch it: {done.stderr.strip()[-300:]}\n"
                    f"Run: pip install --no-deps --target {folder} {TORCHVISION}"
                )
            if not folder.exists():  # another test process may have been quicker
                os.replace(f"{aside}/new", folder)
    return str(folder)
