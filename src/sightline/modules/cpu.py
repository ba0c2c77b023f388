"""Operators that a CPU runs faster another way, exchanged while a model runs.

`CpuOperators` is a torch function mode: inside of it, calls of a few torch functions on CPU tensors take another
road to the same numbers. The model itself is untouched.

- Linear layers in float32 go to oneDNN. torch gives them to MKL, which on processors that are not Intel's uses
  half of the vector width (AMD EPYC with AVX-512: 95 against 200 GFLOP/s a core).
- A linear layer behind GELU keeps GELU's input alone for the backward pass, not its output as well: a quarter
  of what a BERT layer keeps.
- Dropout in training keeps a seed instead of a mask (`randomness`).
- A convolution whose kernel covers its whole input, as patch embeddings of Qwen-VL do it, is a linear layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from sightline.modules.randomness import dropout

# oneDNN, and torch's layer above it, each keep 1,024 compiled products by shape, up to 0.5 MB each. Rows without
# padding have new shapes every time, so most are never used again; a few serve all layers of one micro-batch.
# Both read these once, at their first product.
for _capacity in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_capacity, "32")

# Multiplications below which the detour costs more than it saves.
WORTHWHILE = 2_000_000


class CpuOperators(TorchFunctionMode):
    """Exchanges operators on CPU tensors inside the ``with`` block."""

    def __init__(self) -> None:
        super().__init__()
        # GELU's input and output and its approximation, until the next linear layer has seen them.
        self._activated: tuple[Tensor, Tensor, str] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.gelu:
            return self._gelu(*args, **kwargs)
        result: Tensor | None = None
        if func is nn.functional.linear:
            result = self._linear(*args, **kwargs)
        elif func is torch.conv3d or func is nn.functional.conv3d:
            result = self._convolution(*args, **kwargs)
        elif func is nn.functional.dropout:
            result = _dropout(*args, **kwargs)
        return func(*args, **kwargs) if result is None else result

    def _gelu(self, input: Tensor, *, approximate: str = "none") -> Tensor:
        output = nn.functional.gelu(input, approximate=approximate)
        keeps_graph = torch.is_grad_enabled() and input.requires_grad
        if keeps_graph and input.dtype == torch.float32 and input.device.type == "cpu":
            self._activated = (input, output, approximate)
        return output

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
        """A float32 linear layer our way, or None to leave it to torch."""
        activated, self._activated = self._activated, None
        behind_gelu = activated is not None and activated[1] is input
        if (
            input.dtype != torch.float32
            or weight.dtype != torch.float32
            or input.device.type != "cpu"
            or type(input) is not Tensor
            or input.numel() * weight.shape[0] < WORTHWHILE
            or torch.is_autocast_enabled("cpu")
            or not (onednn_is_faster() or behind_gelu)
        ):
            return None
        rows = input.reshape(-1, input.shape[-1])
        shape = (*input.shape[:-1], weight.shape[0])
        if activated is not None and behind_gelu:
            before = activated[0].reshape(rows.shape)
            return _GeluLinear.apply(before, rows.detach(), weight, bias, activated[2]).view(shape)
        learnt = [one for one in (input, weight, bias) if one is not None and one.requires_grad]
        if torch.is_grad_enabled() and learnt:
            return _Linear.apply(rows, weight, bias).view(shape)
        return product(rows, weight, bias).view(shape)

    def _convolution(
        self, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor | None:  # fmt: skip
        """A convolution over exactly one kernel's size as a linear layer, or None to leave it to torch."""
        if input.device.type != "cpu" or input.shape[2:] != weight.shape[2:] or groups != 1:
            return None
        if any(padding) if isinstance(padding, tuple) else padding:
            return None
        if input.ndim == 5 and input.stride(2) == 0:
            # All frames are one: a still image, whose frame is held once (see `inputs.pixels`).
            input, weight = input[:, :, :1], weight.sum(2, keepdim=True)
        rows, kernels = input.flatten(1), weight.flatten(1)
        found = self._linear(rows, kernels, bias)
        found = nn.functional.linear(rows, kernels, bias) if found is None else found
        return found[..., None, None, None]


def cpu_operators(model: PreTrainedModel) -> AbstractContextManager[Any]:
    """`CpuOperators` for a model on a CPU, and nothing for one elsewhere or while torch compiles.

    Nothing either for a model that recomputes its activations: it would do so outside of the mode, with torch's
    own operators, which keep other tensors.
    """
    exchanged = model.device.type == "cpu" and not torch.compiler.is_compiling()
    return CpuOperators() if exchanged and not model.is_activation_checkpointing else nullcontext()


def onednn_is_faster() -> bool:
    """Whether float32 products go to oneDNN: it is on, there is AVX-512, and the processor is not Intel's.

    Decided by facts rather than by timing, so that a run gives the same bits each time on one machine.
    """
    # Read each time: it is switched off for good when oneDNN has once found no memory (training/recovery).
    return bool(torch.backends.mkldnn.enabled) and _suits_onednn()


@cache
def _suits_onednn() -> bool:
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    if "GenuineIntel" in facts:
        return False
    return bool(
        torch.ops.mkldnn._linear_pointwise(torch.ones(2, 3), torch.ones(4, 3), None, "none", [], "").numel()
    )


def product(left_TK: Tensor, right_NK: Tensor, bias_N: Tensor | None) -> Tensor:
    """(T, N) = left right^T + bias; the operator that torch's own compiler emits for linear layers on CPUs.

    Where oneDNN is not faster it is torch's ordinary product, on any device and of any type. Takes a transposed
    right matrix as it is and copies a transposed left one; crawls on one with gaps between its rows, so those are
    copied, too.
    """
    # The compiler chooses its operator itself, and fails on one that was chosen for it.
    if torch.compiler.is_compiling() or not _goes_to_onednn(left_TK):
        return nn.functional.linear(left_TK, right_NK, bias_N)
    left_TK, right_NK = (
        one if one.is_contiguous() or one.t().is_contiguous() else one.contiguous()
        for one in (left_TK, right_NK)
    )
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left_TK, right_NK, bias_N, "none", [], "")
    return result


def add_product(sum_TN: Tensor, left_TK: Tensor, right_NK: Tensor) -> None:
    """Adds left right^T in place, on any device and of any type; by `product` where that is faster."""
    if _goes_to_onednn(sum_TN):
        sum_TN.add_(product(left_TK, right_NK, None))
    else:
        sum_TN.addmm_(left_TK, right_NK.t())


def _goes_to_onednn(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype == torch.float32 and onednn_is_faster()


def _weight_gradient(gradient_TN: Tensor, input_TK: Tensor) -> Tensor:
    """(N, K) gradient^T input. The left side of a product is copied if it is transposed, so it is the smaller one."""
    (tokens, outputs), inputs = gradient_TN.shape, input_TK.shape[1]
    if (outputs - inputs) * tokens > outputs * inputs:
        return product(input_TK.t(), gradient_TN.t(), None).t().contiguous()
    return product(gradient_TN.t(), input_TK.t(), None)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_TK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        # Beside an adapter the weight is frozen, and its input need not be kept.
        for_input, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input_TK if for_weight else None, weight_NK if for_input else None)
        ctx.has_bias = bias_N is not None
        return product(input_TK, weight_NK, bias_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input_TK, weight_NK = ctx.saved_tensors
        gradient_TN = gradients[0].contiguous()
        for_input, for_weight, for_bias = ctx.needs_input_grad
        return (
            product(gradient_TN, weight_NK.t(), None) if for_input else None,
            _weight_gradient(gradient_TN, input_TK) if for_weight else None,
            gradient_TN.sum(0) if for_bias and ctx.has_bias else None,
        )


class _GeluLinear(torch.autograd.Function):
    """A linear layer of GELU's output; the output is computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        before_TK: Tensor,
        output_TK: Tensor,
        weight_NK: Tensor,
        bias_N: Tensor | None,
        approximate: str,
    ) -> Tensor:
        ctx.save_for_backward(before_TK, weight_NK)
        ctx.has_bias, ctx.approximate = bias_N is not None, approximate
        return product(output_TK, weight_NK, bias_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        before_TK, weight_NK = ctx.saved_tensors
        gradient_TN = gradients[0].contiguous()
        for_input, _, for_weight, for_bias, _ = ctx.needs_input_grad
        found: list[Tensor | None] = [None] * 5
        if for_weight:
            output_TK = nn.functional.gelu(before_TK, approximate=ctx.approximate)
            found[2] = _weight_gradient(gradient_TN, output_TK)
            del output_TK
        if for_input:
            for_output = product(gradient_TN, weight_NK.t(), None)
            found[0] = torch.ops.aten.gelu_backward(for_output, before_TK, approximate=ctx.approximate)
        if for_bias and ctx.has_bias:
            found[3] = gradient_TN.sum(0)
        return tuple(found)


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
