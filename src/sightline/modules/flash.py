"""Flash attention of a package or of the Hub: whether a model runs it, and what it runs where that cannot be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from transformers import PreTrainedModel
from transformers.utils.generic import is_flash_attention_requested

from sightline.modules.varlen_attention import HALF

logger = logging.getLogger(__name__)


def runs_flash(model: PreTrainedModel) -> bool:
    """Whether a model's attention is a flash kernel, from a package or from the Hub."""
    name = model.config._attn_implementation
    return name is not None and is_flash_attention_requested(requested_attention_implementation=name)


def number_type_of(model: PreTrainedModel) -> torch.dtype:
    """The type that the model's matrix products give in this context: autocast's, or that of its weights."""
    kind = model.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype


def fitting_attention(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Inside, a model that runs flash attention in float32, which no flash kernel does, runs ``sdpa``."""
    if not runs_flash(model) or number_type_of(model) in HALF:
        return nullcontext()
    name = type(model).__name__
    if name not in _told:
        _told.add(name)
        logger.warning(
            "%s is to run %s in float32, and flash attention computes in half precision only: what is not under "
            "bf16 runs sdpa attention",
            name, model.config._attn_implementation,
        )  # fmt: skip
    return attention_as(model, "sdpa" if model._supports_sdpa else "eager")


_told: set[str] = set()


@contextmanager
def attention_as(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Inside, all of a model runs one of transformers' attention functions; afterwards each part runs its own."""
    parts = (part for part in model.modules() if isinstance(part, PreTrainedModel))
    configs = {id(part.config): part.config for part in parts}.values()
    before = [(config, config._attn_implementation) for config in configs]
    try:
        for config in configs:
            config._attn_implementation = {"": name}  # of this configuration, and of none inside it
        yield
    finally:
        for config, own in before:
            config._attn_implementation = {"": own}
