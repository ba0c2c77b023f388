"""What `from_pretrained` of every model does first: the checkpoint's folder, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from sightline.checkpoint import hub
from sightline.checkpoint.options import LoadOptions


def locate(
    name_or_path: str | Path,
    *,
    device: torch.device | None = None,
    dtype: str | torch.dtype | None,
    model_kwargs: Mapping[str, Any] | None,
    processor_kwargs: Mapping[str, Any] | None,
    config_kwargs: Mapping[str, Any] | None,
    trust_remote_code: bool,
    **hub_arguments: Any,
) -> tuple[Path, LoadOptions]:
    """The folder of a checkpoint, fetched if need be, and the options it is read with.

    Args:
        name_or_path: folder, or name on the Hub.
        device: where the model is to be; None for what reads no weights.
        dtype: weights' type; wins over the one in ``model_kwargs``, and is float32 without either.
        model_kwargs, processor_kwargs, config_kwargs, trust_remote_code: see `LoadOptions`.
        hub_arguments: of `hub.resolve`.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    folder = hub.resolve(name_or_path, **hub_arguments)
    beside = {name: value for name, value in hub_arguments.items() if name != "revision"}
    arguments = dict(model_kwargs or {})
    if dtype is not None:
        arguments["dtype"] = dtype
    # Without a word about it transformers takes the type the weights were saved in; ST takes float32.
    arguments.setdefault("dtype", torch.float32)
    return folder, LoadOptions(
        model_kwargs=arguments,
        processor_kwargs=dict(processor_kwargs or {}),
        config_kwargs=dict(config_kwargs or {}),
        trust_remote_code=trust_remote_code,
        device=device,
        hub=beside,
    )


def name_bases(model: nn.Module, folder: Path, name_or_path: str | Path) -> None:
    """Names the transformers models in a model by what finds them again: the name on the Hub, or the whole path.

    A saved adapter says by this name which model it belongs to.

    Args:
        model: just loaded.
        folder: where from.
        name_or_path: what was asked for.
    """
    on_the_hub = not Path(name_or_path).expanduser().is_dir()
    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part.name_or_path and Path(part.name_or_path).is_dir():
            place = Path(part.name_or_path).resolve()
            part.name_or_path = str(name_or_path) if on_the_hub and place == folder.resolve() else str(place)
