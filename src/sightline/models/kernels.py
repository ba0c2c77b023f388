"""Attention kernels: which of those a person allows is the first that can run here, and why others cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_kernels_available

from sightline.errors import ConfigError

# Kernels that come in a package of their own: whether it is here, and its name.
PACKAGES: Mapping[str, tuple[Callable[[], bool], str]] = {
    "flash_attention_2": (is_flash_attn_2_available, "flash-attn"),
    "flash_attention_3": (is_flash_attn_3_available, "flash-attn-3"),
}


@dataclass(frozen=True)
class Kernel:
    """A kernel that was chosen.

    Attributes:
        name: as transformers' ``attn_implementation`` takes it.
        passed_over: those that were wanted more -> why they cannot run here.
    """

    name: str
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """In words: ``sdpa attention (flash_attention_2: does not run on 'cpu')``."""
        why = "; ".join(f"{name}: {reason}" for name, reason in self.passed_over.items())
        return f"{self.name} attention" + (f" ({why})" if why else "")


def first_usable(names: Sequence[str], device: torch.device) -> Kernel:
    """The first of the kernels that can run on a device.

    A model that cannot be computed with it says so when it is loaded.

    Args:
        names: the best first.
        device: where the model is to run.

    Raises:
        ConfigError: none can, with the reasons.
    """
    reasons: dict[str, str] = {}
    for name in names:
        reason = obstacle(name, device)
        if reason is None:
            return Kernel(name, reasons)
        reasons[name] = reason
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise ConfigError(
        f"no attention kernel can run here ({said})" if said else "no attention kernel is named"
    )


def obstacle(name: str, device: torch.device) -> str | None:
    """Why a kernel cannot run on a device; None where nothing is known against it."""
    if name not in PACKAGES:
        return None
    if device.type in ("cpu", "mps"):
        return f"does not run on {device.type!r}"
    here, package = PACKAGES[name]
    # With the package `kernels`, transformers fetches it built.
    if not here() and not is_kernels_available():
        return f"the package {package} is not installed"
    return None
