"""Where a model runs."""

from __future__ import annotations

import torch

from sightline.errors import ConfigError


def default_device() -> str:
    """``cuda``, ``mps`` or ``cpu``, whichever the machine has first."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(device: str | torch.device | None) -> torch.device:
    """``device``, or the default where it is None.

    Raises:
        ConfigError: there is no such device on this machine, or torch was built without it.
    """
    try:
        found = torch.device(device or default_device())
        torch.empty(0, device=found)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"device {str(device)!r} cannot be used on this machine ({reason}); "
            f"leave it out to use {default_device()!r}"
        ) from error
    return found
