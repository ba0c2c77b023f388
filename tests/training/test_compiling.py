"""Compiled layers: the same gradients, for micro-batches of any shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.training.compiling import compile_layers, repeated_layers
from support import tiny_models

CPU = torch.device("cpu")


def test_gradients_agree_for_every_shape(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny_models.bert(tmp_path / "bert", dropout=0.0), device="cpu").train()

    def gradients(words: int, items: int) -> dict[str, Tensor]:
        features = encoder.preprocessor(parse("table " * words), role=None, prompt=None)
        values = encoder(encoder.collate([features] * items, range(items))).values
        encoder.zero_grad()
        (values * torch.linspace(0, 1, values.numel()).view_as(values)).sum().backward()
        return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}

    shapes = [(10, 4), (30, 3), (50, 7)]
    expected = [gradients(*shape) for shape in shapes]
    names = list(encoder.state_dict())
    # Without code generation, which takes minutes: what dynamo makes of the layers is what may go wrong.
    assert compile_layers(encoder, device=CPU, backend="aot_eager") == 2
    assert list(encoder.state_dict()) == names
    for shape, wanted in zip(shapes, expected, strict=True):
        torch.testing.assert_close(gradients(*shape), wanted, atol=1e-5, rtol=1e-5)


def test_layers_are_found() -> None:
    inner = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model = nn.ModuleDict(
        {"a": nn.ModuleList([nn.Sequential(inner[0]), nn.Sequential(inner[1])]), "b": inner}
    )
    assert list(repeated_layers(model)) == [*model["a"], *inner]
    assert not list(repeated_layers(nn.ModuleList([nn.Linear(1, 1), nn.Tanh()])))


def test_what_is_missing_is_named(make_encoder: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no repeated layers"):
        compile_layers(make_encoder(), device=CPU)
    monkeypatch.setenv("CXX", "no-such-compiler")
    layers = nn.Sequential(nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)]))
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler"):
        compile_layers(layers, device=CPU)
