"""Operators of the CPU give what torch's own give."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import conv3d, dropout, gelu, linear

from sightline.modules import cpu
from sightline.modules.cpu import CpuOperators
from sightline.modules.randomness import MaskSource


@pytest.fixture(autouse=True)
def _also_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "WORTHWHILE", 1)
    # Also on processors where torch's own product is as fast; the operator is there wherever oneDNN is.
    monkeypatch.setattr(cpu, "onednn_is_faster", lambda: torch.backends.mkldnn.is_available())


@pytest.mark.parametrize("shape", [(5, 12), (1, 5, 12), (2, 3, 12), (0, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    values = torch.randn(shape, requires_grad=True)
    weight = torch.randn(7, 12, requires_grad=True)
    offsets = torch.randn(7, requires_grad=True) if bias else None
    inputs = [values, weight, *([offsets] if offsets is not None else [])]
    expected = linear(values, weight, offsets)
    gradient = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, inputs, gradient)
    with CpuOperators():
        found = linear(values, weight, offsets)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, inputs, gradient), expected_gradients, strict=True):
        torch.testing.assert_close(one, other)
    with CpuOperators(), torch.no_grad():
        torch.testing.assert_close(linear(values, weight, offsets), expected)


def test_linear_computes_only_the_gradients_asked_for() -> None:
    weight = torch.randn(7, 12)
    values = torch.randn(5, 12, requires_grad=True)
    with CpuOperators():
        found = linear(values, weight)
    found.sum().backward()
    assert values.grad is not None
    assert weight.grad is None


def test_other_types_are_left_to_torch() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        values, weight = torch.randn(5, 12).to(dtype), torch.randn(7, 12).to(dtype)
        with CpuOperators():
            assert torch.equal(linear(values, weight), torch.nn.Linear.forward(_layer(weight), values))
    with CpuOperators(), torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(5, 12), torch.randn(7, 12)).dtype == torch.bfloat16


def _layer(weight: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    layer.weight.data = weight
    return layer


def test_dropout_drops_its_share_keeps_the_mean_and_replays() -> None:
    values = torch.ones(400, 500, requires_grad=True)
    state = torch.get_rng_state()
    with CpuOperators():
        first, second = dropout(values, 0.1), dropout(values, 0.1)
    assert (first == 0).float().mean() == pytest.approx(0.1, abs=0.005)
    assert first.detach().mean() == pytest.approx(1.0, abs=0.005)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    with CpuOperators():
        assert torch.equal(dropout(values, 0.1), first)
        assert torch.equal(dropout(values, 0.1, training=False), values)
    (gradient,) = torch.autograd.grad(first.sum(), values)
    assert torch.equal(gradient, first), "of ones, the gradient is the mask that was drawn forward"


def test_masks_of_one_seed_are_the_same_in_the_same_order() -> None:
    first, second = MaskSource(0.3, 5), MaskSource(0.3, 5)
    shapes = [(7, 9), (3,), (2, 2, 5)]
    masks = [first.draw(shape) for shape in shapes]
    assert all(torch.equal(second.draw(shape), mask) for shape, mask in zip(shapes, masks, strict=True))
    assert not torch.equal(MaskSource(0.3, 6).draw((7, 9)), masks[0])


def test_a_convolution_over_the_whole_input_is_a_product() -> None:
    values = torch.randn(6, 3, 2, 4, 4, requires_grad=True)
    weight = torch.randn(8, 3, 2, 4, 4, requires_grad=True)
    offsets = torch.randn(8)
    expected = conv3d(values, weight, offsets, stride=(2, 4, 4))
    with CpuOperators():
        found = conv3d(values, weight, offsets, stride=(2, 4, 4))
        torch.testing.assert_close(
            conv3d(values, weight[..., :2, :2], offsets), conv3d(values, weight[..., :2, :2], offsets)
        )
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found.sum(), (values, weight)),
        torch.autograd.grad(expected.sum(), (values, weight)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("faster", [True, False], ids=["oneDNN", "torch's product"])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_a_linear_layer_behind_gelu_keeps_less_for_the_same_gradients(
    faster: bool, approximate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "onednn_is_faster", lambda: faster)
    torch.manual_seed(0)
    values = torch.randn(2, 30, 12, requires_grad=True)
    weight, offsets = torch.randn(7, 12, requires_grad=True), torch.randn(7, requires_grad=True)
    inputs = (values, weight, offsets)
    expected = linear(gelu(values * 1, approximate=approximate), weight, offsets)
    gradient = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, inputs, gradient)
    kept: list[int] = []

    def keep(one: torch.Tensor) -> torch.Tensor:
        kept.append(one.numel())
        return one

    with CpuOperators(), torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        activated = gelu(values * 1, approximate=approximate)
        before = len(kept)
        found = linear(activated, weight, offsets)
        # The output that is used twice keeps its own way to the gradient.
        also = activated.sum()
    assert sorted(kept[before:]) == [weight.numel(), values.numel()]
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, inputs, gradient, retain_graph=True), expected_gradients, strict=True
    ):
        torch.testing.assert_close(one, other)
    (for_values,) = torch.autograd.grad(also, values)
    (plain,) = torch.autograd.grad(gelu(values * 1, approximate=approximate).sum(), values)
    torch.testing.assert_close(for_values, plain)


def test_a_still_image_held_once_gives_what_its_repeated_frames_give() -> None:
    conv = nn.Conv3d(3, 64, kernel_size=(2, 16, 16), stride=(2, 16, 16))
    frame = torch.randn(40, 3, 1, 256)
    repeated = frame.expand(-1, -1, 2, -1).reshape(40, -1).view(-1, 3, 2, 16, 16)
    wanted = conv(repeated)
    (wanted_gradient,) = torch.autograd.grad(wanted.square().sum(), conv.weight)
    with CpuOperators():
        found = conv(frame.expand(-1, -1, 2, -1).view(-1, 3, 2, 16, 16))
    (gradient,) = torch.autograd.grad(found.square().sum(), conv.weight)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(32, 256), (256, 32)])
def test_weight_gradients_are_in_the_weights_layout(inputs: int, outputs: int) -> None:
    values, gradient = torch.randn(300, inputs), torch.randn(300, outputs)
    found = cpu._weight_gradient(gradient, values)
    assert found.is_contiguous()
    torch.testing.assert_close(found, gradient.t() @ values, atol=1e-4, rtol=1e-4)


def test_a_compiled_function_may_hold_a_product() -> None:
    def traced(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return cpu.product(left, right, None) * 2

    left, right = torch.randn(5, 4), torch.randn(3, 4)
    found = torch.compile(traced, backend="aot_eager", fullgraph=True)(left, right)
    torch.testing.assert_close(found, left @ right.t() * 2)


def test_products_of_ever_new_shapes_keep_no_memory() -> None:
    """Two caches of 1,024 compiled products would hold some 400 MB of them."""
    script = """
import sightline.modules.cpu, torch
from torch.nn import functional
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024
weight = torch.randn(384, 384, dtype=torch.bfloat16)
for length in range(100, 140):
    functional.linear(torch.randn(length, 384, dtype=torch.bfloat16), weight)
before = held()
for length in range(200, 900):
    functional.linear(torch.randn(length, 384, dtype=torch.bfloat16), weight)
print(held() - before)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 40


def test_a_frozen_layer_trains_its_bias_and_keeps_no_input() -> None:
    """As beside an adapter: what is kept for a weight that nobody trains would be most of the memory."""
    weight, offsets = torch.randn(7, 12), torch.randn(7, requires_grad=True)
    values = torch.randn(5, 12)
    with CpuOperators():
        found = linear(values, weight, offsets)
    found.sum().backward()
    assert offsets.grad is not None
    torch.testing.assert_close(offsets.grad, torch.full((7,), 5.0))
    hidden = torch.randn(5, 12, requires_grad=True) * 2
    kept: list[torch.Tensor] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one)
    with hooks, CpuOperators():
        linear(hidden, weight)
    assert [tuple(one.shape) for one in kept] == [(7, 12)], "the weight, for the gradient of the input"
