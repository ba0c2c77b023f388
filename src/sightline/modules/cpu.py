"""Operators that a CPU runs faster another way, exchanged while a model runs.

`CpuOperators` is a torch function mode: inside of it, calls of a few torch functions on CPU tensors take another
road to the same numbers. The model itself is untouched.

- Linear layers in float32 go to oneDNN. torch gives them to MKL, which on processors that are not Intel's uses
  half of the vector width (AMD EPYC with AVX-512: 95 against 200 GFLOP/s a core).
- Dropout in training keeps a seed instead of a mask (`randomness`).
- A convolution whose kernel covers its whole input, as patch embeddings of Qwen-VL do it, is a linear layer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sightline.modules.randomness import dropout

# Multiplications below which the detour costs more than it saves.
WORTHWHILE = 2_000_000


class CpuOperators(TorchFunctionMode):
    """Exchanges operators on CPU tensors inside the ``with`` block."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        other = _OPERATORS.get(func)
        if other is not None:
            result = other(*args, **(kwargs or {}))
            if result is not None:
                return result
        return func(*args, **(kwargs or {}))


def cpu_operators(device: torch.device) -> AbstractContextManager[Any]:
    """`CpuOperators` for a model on a CPU, and nothing for one elsewhere or while torch compiles."""
    return CpuOperators() if device.type == "cpu" and not torch.compiler.is_compiling() else nullcontext()


@cache
def onednn_is_faster() -> bool:
    """Whether float32 products go to oneDNN: it is there, there is AVX-512, and the processor is not Intel's.

    Decided by facts rather than by timing, so that a run gives the same bits each time on one machine.
    """
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    if "GenuineIntel" in facts:
        return False
    return product(torch.ones(2, 3), torch.ones(4, 3), None).shape == (2, 4)


def product(left_TK: Tensor, right_NK: Tensor, bias_N: Tensor | None) -> Tensor:
    """(T, N) = left right^T + bias; the operator that torch's own compiler emits for linear layers on CPUs.

    Takes a transposed matrix as it is, but crawls on one with gaps between its rows, so those are copied.
    """
    left_TK, right_NK = (
        one if one.is_contiguous() or one.t().is_contiguous() else one.contiguous()
        for one in (left_TK, right_NK)
    )
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left_TK, right_NK, bias_N, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_TK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        ctx.save_for_backward(input_TK, weight_NK)
        ctx.has_bias = bias_N is not None
        return product(input_TK, weight_NK, bias_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input_TK, weight_NK = ctx.saved_tensors
        gradient_TN = gradients[0].contiguous()
        for_input, for_weight, for_bias = ctx.needs_input_grad
        return (
            product(gradient_TN, weight_NK.t(), None) if for_input else None,
            product(gradient_TN.t(), input_TK.t(), None) if for_weight else None,
            gradient_TN.sum(0) if for_bias and ctx.has_bias else None,
        )


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """A float32 linear layer through oneDNN, or None to leave it to torch."""
    if (
        input.dtype != torch.float32
        or weight.dtype != torch.float32
        or input.device.type != "cpu"
        or type(input) is not Tensor
        or input.numel() * weight.shape[0] < WORTHWHILE
        or torch.is_autocast_enabled("cpu")
        or not onednn_is_faster()
    ):
        return None
    rows = input.reshape(-1, input.shape[-1])
    if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
        result = _Linear.apply(rows, weight, bias)
    else:
        result = product(rows, weight, bias)
    return result.view(*input.shape[:-1], weight.shape[0])


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor | None:
    """Dropout by seed in training, or None to leave it to torch."""
    if (
        not training
        or inplace
        or not 0 < p < 1
        or input.device.type != "cpu"
        or not input.is_floating_point()
    ):
        return None
    return dropout(input, p)


def _conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor | None:  # fmt: skip
    """A convolution over exactly one kernel's size as a linear layer, or None to leave it to torch."""
    if input.device.type != "cpu" or input.shape[2:] != weight.shape[2:] or groups != 1:
        return None
    if any(padding) if isinstance(padding, tuple) else padding:
        return None
    return nn.functional.linear(input.flatten(1), weight.flatten(1), bias)[..., None, None, None]


_OPERATORS: dict[Any, Callable[..., Tensor | None]] = {
    nn.functional.linear: _linear,
    nn.functional.dropout: _dropout,
    torch.conv3d: _conv3d,
    nn.functional.conv3d: _conv3d,
}
