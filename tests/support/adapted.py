"""Adapters that do something: a fresh one changes no vector, so that nothing about it would show in a test."""

from __future__ import annotations

import torch
from torch import nn


def stir(model: nn.Module, *, seed: int = 1, scale: float = 0.05) -> None:
    """Draws new values for every trained weight of a model, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(scale * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))


def trained(model: nn.Module) -> set[str]:
    """Names of the weights that are trained."""
    return {name for name, weight in model.named_parameters() if weight.requires_grad}
