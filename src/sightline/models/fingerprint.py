"""Which model is this: a short name that changes with the weights.

`fingerprint` does not change with how they are held, for an index that is searched on another machine;
`exact_fingerprint` does, for vectors that are kept to be used again.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLES = 4096
CHUNK = 1 << 24  # elements converted at a time, so that memory stays flat
# Of a configuration: names of places and versions, and what the weights' own types say.
_ELSEWHERE = ("_name_or_path", "base_model_name_or_path", "dtype", "torch_dtype", "transformers_version")


def fingerprint(encoder: nn.Module) -> str:
    """32 hex digits that name the model: its parts with their facts (pooling mode, ...) and its weights.

    Every weight counts, through a sum of its bits, which is exact whatever the device and the number of
    threads; evenly spaced samples are hashed in order besides, so that weights that changed places do not
    go unseen. Weights count as they are in bfloat16: one checkpoint loaded as float32, as bfloat16, on CPU
    or GPU has one fingerprint (float16 and quantised weights have their own). It costs one pass over the
    weights in memory, a second for a few billion.

    Args:
        encoder: any torch module; tied weights and buffers are taken as its state_dict lists them.
    """
    digest = hashlib.sha256()
    for part in _parts(encoder):
        digest.update(part)
    for name, tensor in sorted(encoder.state_dict().items()):
        shape, total, samples = _contents(tensor)
        digest.update(json.dumps([name, shape, total]).encode())
        digest.update(samples)
    return digest.hexdigest()[:32]


def exact_fingerprint(encoder: nn.Module) -> str:
    """32 hex digits that two models share only where they compute the same.

    Every bit of every weight and its type count, the configuration of each backbone (the same weights with another
    number of heads are another model), and the settings of adapters, whose scale stands beside the weights. What
    prepares items is not in it: see `Preprocessor.fingerprint`. It costs one pass over the weights.

    Args:
        encoder: as of `fingerprint`.
    """
    import torch
    import xxhash

    digest = hashlib.sha256()
    for part in _parts(encoder, whole=True):
        digest.update(part)
    for name, tensor in sorted(encoder.state_dict().items()):
        contents = xxhash.xxh3_128()
        for piece in tensor.detach().reshape(-1).split(CHUNK):
            contents.update(piece.cpu().contiguous().view(torch.uint8).numpy())
        facts = [name, str(tensor.dtype), list(tensor.shape), contents.hexdigest()]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:32]


def _parts(encoder: nn.Module, *, whole: bool = False) -> list[bytes]:
    """The facts of each part; with ``whole`` also the configuration of its model."""
    from transformers import PreTrainedModel

    from sightline.modules.base import Module

    found = []
    for name, part in encoder.named_modules():
        facts: list[Any] | None = None
        if isinstance(part, Module):
            facts = [name, part.kind, part.facts()]
        elif whole and isinstance(part, PreTrainedModel):
            adapters = vars(part).get("peft_config") or {}
            facts = [
                name,
                _settings(part.config.to_dict()),
                {adapter: _settings(config.to_dict()) for adapter, config in adapters.items()},
            ]
        if facts is not None:
            found.append(json.dumps(facts, sort_keys=True, default=_plain).encode())
    return found


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without where it came from and how its weights are held."""
    return {
        name: _settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _ELSEWHERE
    }


def _plain(value: Any) -> Any:
    """What JSON has no word for; a set has no order of its own."""
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _contents(tensor: Tensor) -> tuple[list[int], int, bytes]:
    """Shape, sum of the bits as 64-bit numbers (modulo 2^64), and evenly spaced elements of ``tensor``."""
    import torch

    flat = tensor.detach().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    total = sum(_sum_of_bits(piece) for piece in flat.split(CHUNK)) % 2**64
    step = max(1, flat.numel() // SAMPLES)
    samples = flat[::step]
    if samples.is_floating_point():
        samples = samples.to(torch.bfloat16).view(torch.int16)
    return list(tensor.shape), total, samples.to(torch.int64).cpu().numpy().tobytes()


def _sum_of_bits(flat: Tensor) -> int:
    import torch
    from torch.nn.functional import pad

    bits = flat.to(torch.bfloat16).view(torch.int16) if flat.is_floating_point() else flat.to(torch.int64)
    if bits.dtype == torch.int64:
        return int(bits.sum())
    # Four at a time: adding 64-bit numbers runs at the speed of memory.
    if len(bits) % 4 or bits.storage_offset() % 4:
        bits = pad(bits, (0, -len(bits) % 4)).clone()
    return int(bits.view(torch.int64).sum())
