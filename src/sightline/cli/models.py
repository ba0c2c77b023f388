"""Loading the model a command names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker


def load_model(name: str, device: str | None = None) -> Encoder:
    """The encoder in a folder or on the Hub."""
    quiet_transformers()
    from sightline.models.encoder import Encoder

    return Encoder.from_pretrained(name, device=device)


def load_reranker(name: str, device: str | None = None) -> Reranker:
    """The reranker in a folder or on the Hub."""
    quiet_transformers()
    from sightline.models.reranker import Reranker

    return Reranker.from_pretrained(name, device=device)


def quiet_transformers() -> None:
    """No bars for reading and writing weights: they take a moment, and would fill logs."""
    from transformers.utils import logging

    logging.disable_progress_bar()
