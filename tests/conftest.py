"""Fixtures and settings shared by every test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from support.fixtures import pictures, tiny, tiny_encoder
from support.model_facts import model_fact, pytest_addoption, pytest_configure

# Fixtures and hooks, offered to every test.
__all__ = ["model_fact", "pictures", "pytest_addoption", "pytest_configure", "tiny", "tiny_encoder"]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SHARED.exists():
        return
    skip = pytest.mark.skip(reason=f"the real data is not here: {SHARED}")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real documents, images, speech and video (use with the `shared` marker)."""
    return SHARED


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """Commands and the service set up logging for their process, which here is that of all tests."""
    _forget_handlers()
    yield
    _forget_handlers()


def _forget_handlers() -> None:
    for name in ("sightline", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
