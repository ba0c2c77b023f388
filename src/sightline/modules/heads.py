"""Small parts on top of a pooled vector: Dense, Normalize, LayerNorm, Dropout."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sightline.modules.base import Module

POOLED = "sentence_embedding"


class Dense(Module):
    """Linear layer, activation and optional residual connection on a feature of last dimension ``in_features``.

    Args:
        in_features: input dimension.
        out_features: output dimension.
        bias: whether the linear layer has one.
        activation: any element-wise module; Identity for none.
        input_name: feature read.
        output_name: feature written, by default the one read.
        residual: add the input (through a linear layer without bias where the dimensions differ).
    """

    kind: ClassVar[str] = "dense"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        activation: nn.Module | None = None,
        input_name: str = POOLED,
        output_name: str | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = nn.Tanh() if activation is None else activation
        self.input_name = input_name
        self.output_name = output_name or input_name
        self.use_residual = residual
        # Named as in ST's weight files.
        if residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)

    @property
    def output_dim(self) -> int:
        return self.linear.out_features

    def facts(self) -> dict[str, Any]:
        facts = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{type(self.activation).__module__}.{type(self.activation).__name__}",
        }
        # Entries at their default are left out, because releases of ST before 5 refuse unknown ones.
        if self.input_name != POOLED or self.output_name != POOLED:
            facts |= {"module_input_name": self.input_name, "module_output_name": self.output_name}
        return facts | ({"use_residual": True} if self.use_residual else {})

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        value: Tensor = features[self.input_name]
        result = self.activation(self.linear(value))
        if self.use_residual:
            same = self.linear.in_features == self.linear.out_features
            result = result + (value if same else self.residual(value))
        features[self.output_name] = result
        return features


class Normalize(Module):
    """Scales a feature to unit L2 norm along its last dimension."""

    kind: ClassVar[str] = "normalize"

    def __init__(self, *, input_name: str = POOLED, output_name: str | None = None) -> None:
        super().__init__()
        self.input_name = input_name
        self.output_name = output_name or input_name

    def facts(self) -> dict[str, Any]:
        if self.input_name == POOLED and self.output_name == POOLED:
            return {}
        return {"module_input_name": self.input_name, "module_output_name": self.output_name}

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        if self.input_name in features:
            features[self.output_name] = unit(features[self.input_name])
        return features


class LayerNorm(Module):
    """Layer normalisation of the pooled vector."""

    kind: ClassVar[str] = "layer_norm"

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    @property
    def output_dim(self) -> int:
        return int(self.norm.normalized_shape[0])

    def facts(self) -> dict[str, Any]:
        return {"dimension": self.output_dim}

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        features[POOLED] = self.norm(features[POOLED])
        return features


class Dropout(Module):
    """Dropout on the pooled vector, in training only."""

    kind: ClassVar[str] = "dropout"

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout_layer = nn.Dropout(dropout)

    def facts(self) -> dict[str, Any]:
        return {"dropout": self.dropout_layer.p}

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        features[POOLED] = self.dropout_layer(features[POOLED])
        return features


# The activations a checkpoint may name; a name outside this table is refused, never imported.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    f"torch.nn.modules.{'linear' if cls is nn.Identity else 'activation'}.{cls.__name__}": cls
    for cls in (
        nn.Identity, nn.Tanh, nn.GELU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU,
        nn.Mish, nn.Sigmoid, nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.LogSigmoid,
    )
}  # fmt: skip


def activation_named(path: str) -> nn.Module | None:
    """The activation of a class path such as ``torch.nn.modules.activation.Tanh``, or None when not in the table."""
    short = path.rsplit(".", 1)[-1]
    if not path.startswith("torch.nn."):
        return None
    return next((cls() for name, cls in ACTIVATIONS.items() if name.rsplit(".", 1)[-1] == short), None)


def unit(value: Tensor) -> Tensor:
    """Unit-length rows of ``value`` (..., D); float32 under autocast, where a length in bfloat16 is off by 0.4 %."""
    if torch.is_autocast_enabled(value.device.type):
        value = value.float()  # as autocast itself does on CUDA
    return nn.functional.normalize(value, p=2, dim=-1)
