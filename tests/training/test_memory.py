"""What forward passes take: counted, and followed by a curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.training.kinds import kind
from sightline.training.memory import (
    Curve,
    Footprint,
    LiveBytes,
    available_bytes,
    fitting,
    measure,
    peak_bytes,
    positions,
    used_bytes,
)
from support import tiny_models


@given(st.lists(st.floats(0.1, 100), max_size=12), st.floats(0, 500))
def test_as_many_as_fit_are_kept(sizes: list[float], room: float) -> None:
    kept = fitting(sizes, room)
    assert sum(sizes[:kept]) <= room * (1 + 1e-9)
    assert kept == len(sizes) or sum(sizes[: kept + 1]) > room * (1 - 1e-9)


def test_bytes_are_counted_while_they_live() -> None:
    layers = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(3)])
    x = torch.randn(50, 100)
    with torch.no_grad(), LiveBytes([x, *layers.parameters()]) as live:
        y = layers(x)
    assert (live.now, live.peak) == (20_000, 40_000), "a layer's input and output"
    with LiveBytes([x, *layers.parameters()]) as live:
        z = layers(x)
    assert live.now == 60_000, "the output and the two inputs that the weights' gradients need"
    del y, z
    assert live.now == 0


def test_a_pass_is_measured_without_a_trace(make_encoder: Callable, make_batch: Callable) -> None:
    model = make_encoder().train()
    state = torch.get_rng_state()
    small, large = (make_batch(per_group=size).micro_batches[0] for size in (9, 36))
    few, many = measure(model, small), measure(model, large)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    # 36 items of up to 12 words of 24 float32: the dropped-out word vectors alone.
    words = positions(large) * 24 * 4
    assert words < many.graph < 40 * words
    assert many.graph > 2 * few.graph
    assert words < many.working < 10 * words
    assert many.vectors == 36 * 16 * 4
    model.requires_grad_(False)
    assert measure(model, large).graph == 0


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_curve_foretells_other_sizes(attention: str, tmp_path: Path) -> None:
    """Measured on two lengths; a micro-batch between them is foretold, also where attention is quadratic."""
    model = Encoder.from_pretrained(
        tiny_models.bert(tmp_path / "bert"), device="cpu", model_kwargs={"attn_implementation": attention}
    ).train()

    def batch(words: int, items: int):
        features = model.preprocessor(parse("table " * words), role=None, prompt=None)
        return model.collate([features] * items, range(items))

    probes = [batch(60, 3), batch(60, 6), batch(20, 8)]
    footprint = Footprint.of([(one, measure(model, one)) for one in probes])
    for words, items in ((60, 20), (40, 5), (30, 30), (20, 40)):
        one = batch(words, items)
        found = measure(model, one)
        assert footprint.graph_bytes(one) == pytest.approx(found.graph, rel=0.1)
        assert footprint.working_bytes(one) == pytest.approx(found.working, rel=0.25)


@pytest.mark.parametrize(("fixed", "per", "square"), [(500.0, 3.0, 0.5), (0.0, 7.0, 0.0), (90.0, 0.0, 2.0)])
def test_the_curve_goes_through_its_points(fixed: float, per: float, square: float) -> None:
    true = Curve(fixed, per, square)
    sizes = [(40, 1), (80, 2), (60, 6)]
    found = Curve.through([(count, items, int(true.at(count, items))) for count, items in sizes])
    for count, items in (*sizes, (400, 10), (90, 3)):
        assert found.at(count, items) == pytest.approx(true.at(count, items), rel=1e-3)
    one = Curve.through([(40, 1, int(true.at(40, 1)))])
    assert one.at(40, 1) == pytest.approx(true.at(40, 1), rel=1e-3)


def test_kinds_are_told_apart(make_batch: Callable) -> None:
    first, second = make_batch(per_group=36).micro_batches
    assert kind(first) == kind(second)
    second.features["group"] = "image"
    assert kind(first) != kind(second)


def test_memory_figures_are_sane() -> None:
    device = torch.device("cpu")
    assert 10**7 < available_bytes(device) < 10**14
    used = used_bytes(device)
    ballast = torch.ones(25_000_000)
    assert used_bytes(device) > used + 50_000_000
    assert peak_bytes(device) >= used + ballast.nbytes // 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_memory_figures_of_a_gpu(make_encoder: Callable, make_batch: Callable) -> None:
    device = torch.device("cuda")
    assert available_bytes(device) > 0
    model, one = make_encoder().train().to(device), make_batch().micro_batches[0]
    found = measure(model, one)
    assert found.graph > found.vectors > 0
    assert peak_bytes(device) >= used_bytes(device) > 0
