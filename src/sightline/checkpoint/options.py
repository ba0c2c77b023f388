"""How the transformers parts of a checkpoint are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class LoadOptions:
    """How the transformers parts are loaded; each is passed on to ``from_pretrained``."""

    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    processor_kwargs: Mapping[str, Any] = field(default_factory=dict)
    config_kwargs: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False
    # Where the model is to be: weights in few bits are made there, and nowhere else. None leaves it to transformers.
    device: torch.device | None = None
    # token, cache_dir and local_files_only, for a second checkpoint that the first one names.
    hub: Mapping[str, Any] = field(default_factory=dict)
    # Without them the transformers model is only a shape, for those who want to know what it takes.
    weights: bool = True
