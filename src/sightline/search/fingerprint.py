"""Which model is this: a short name that changes with the weights and not with how they are held."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLES = 4096
CHUNK = 1 << 24  # elements converted at a time, so that memory stays flat


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
    from sightline.modules.base import Module

    digest = hashlib.sha256()
    for name, part in encoder.named_modules():
        if isinstance(part, Module):
            digest.update(json.dumps([name, part.kind, part.facts()], sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        shape, total, samples = _contents(tensor)
        digest.update(json.dumps([name, shape, total]).encode())
        digest.update(samples)
    return digest.hexdigest()[:32]


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
