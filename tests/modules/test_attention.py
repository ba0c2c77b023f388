"""Attention over segments against plain attention, sequence by sequence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sightline.modules import attention, long_attention
from sightline.modules.segments import Segments, working_on

LENGTHS = Segments((9, 9, 9, 5, 5, 2, 1))


def plain(query: Tensor, key: Tensor, value: Tensor, *, causal: bool, window: int | None) -> Tensor:
    """Each sequence alone, in full."""
    results, start = [], 0
    for length in LENGTHS.lengths:
        parts = [one[start : start + length].transpose(0, 1) for one in (query, key, value)]
        repeats = query.shape[1] // key.shape[1]
        parts[1:] = [one.repeat_interleave(repeats, dim=0) for one in parts[1:]]
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        seen = distance >= 0 if causal else torch.ones(length, length, dtype=torch.bool)
        if window is not None:
            seen = seen & (distance.abs() < window)
        results.append(scaled_dot_product_attention(*parts, attn_mask=seen, scale=0.3).transpose(0, 1))
        start += length
    return torch.cat(results)


def heads(*counts: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(LENGTHS.total, count, 8, dtype=torch.float64, requires_grad=True) for count in counts]


@pytest.mark.parametrize("query_heads", [4, 8], ids=["one query head per key head", "two"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("block", [10, 300, 200_000])
def test_values_and_gradients_are_those_of_each_sequence_alone(
    query_heads: int, causal: bool, window: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK_WEIGHTS", block)
    inputs = heads(query_heads, 4, 4)
    expected = plain(*inputs, causal=causal, window=window)
    gradient = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, inputs, gradient)
    for found in (
        attention._BlockAttention.apply(*inputs, LENGTHS.groups, 0.3, causal, window, 0.0, 0),
        attention._per_group(*inputs, LENGTHS.groups, 0.3, causal, window, 0.0),
    ):
        torch.testing.assert_close(found, expected)
        for one, other in zip(torch.autograd.grad(found, inputs, gradient), expected_gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_the_gradient_with_dropout_is_that_of_the_masks_drawn_forward() -> None:
    def run(*inputs: Tensor) -> Tensor:
        found: Tensor = attention._BlockAttention.apply(*inputs, LENGTHS.groups, 0.3, False, None, 0.3, 7)
        return found

    # Two numbers per head: the check runs the function twice for each of them.
    few = [one.detach()[..., :2].contiguous().requires_grad_() for one in heads(2, 2, 2)]
    assert torch.autograd.gradcheck(run, few)


def test_dropout_leaves_the_mean_and_drops_its_share() -> None:
    length = 64
    segments = Segments((length,) * 8)
    value = torch.eye(length).repeat(8, 1)[:, None, :]
    flat = torch.zeros(segments.total, 1, length)
    found = attention._BlockAttention.apply(flat, flat, value, segments.groups, 1.0, False, None, 0.25, 3)
    # With equal scores and the identity as values, the output is the dropped weights times the length.
    assert (found == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert found.sum(-1).mean() == pytest.approx(1.0, abs=0.01)


def module(**facts: Any) -> Any:
    return SimpleNamespace(is_causal=False, num_key_value_groups=1, **facts)


def test_an_unpacked_batch_with_dropout_gets_new_masks_each_time_and_the_same_after_a_replay() -> None:
    query, key, value = (torch.randn(3, 4, 10, 8) for _ in range(3))

    def run() -> Tensor:
        return attention.attention(module(), query, key, value, None, dropout=0.5)[0]

    state = torch.get_rng_state()
    first, second = run(), run()
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(run(), first)
    assert first.shape == (3, 10, 4, 8)


def test_without_dropout_an_unpacked_batch_is_left_to_transformers() -> None:
    query, key, value = (torch.randn(3, 4, 10, 8) for _ in range(3))
    mask = torch.ones(3, 1, 10, 10, dtype=torch.bool).tril()
    found, _ = attention.attention(module(), query, key, value, mask)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(found, expected)


def test_bfloat16_is_close_to_float32() -> None:
    inputs = [one.float().detach() for one in heads(4, 4, 4)]
    rows = [one.transpose(0, 1).unsqueeze(0) for one in inputs]
    with working_on(LENGTHS):
        found, _ = attention.attention(module(), *[one.bfloat16() for one in rows], None, scaling=0.3)
    assert found.dtype == torch.bfloat16
    expected = plain(*inputs, causal=False, window=None)
    torch.testing.assert_close(found[0].float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("query_heads", [2, 4], ids=["one query head per key head", "two"])
@pytest.mark.parametrize("causal", [False, True])
def test_long_sequences_go_row_by_row_to_the_same_values_and_gradients(
    query_heads: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "onednn_is_faster", lambda: torch.backends.mkldnn.is_available())
    monkeypatch.setattr(long_attention, "LONG", 4)
    monkeypatch.setattr(long_attention, "BLOCK_WEIGHTS", 150)  # several row blocks a head
    inputs = [one.detach().float().requires_grad_() for one in heads(query_heads, 2, 2)]
    expected = plain(*inputs, causal=causal, window=None)
    gradient = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, inputs, gradient)
    found = attention._BlockAttention.apply(*inputs, LENGTHS.groups, 0.3, causal, None, 0.0, 0)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, inputs, gradient), expected_gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_long_sequences_with_dropout_replay_their_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "onednn_is_faster", lambda: torch.backends.mkldnn.is_available())
    monkeypatch.setattr(long_attention, "LONG", 4)
    inputs = [one.detach().float().requires_grad_() for one in heads(2, 2, 2)]

    def run(*values: Tensor) -> Tensor:
        found: Tensor = attention._BlockAttention.apply(*values, LENGTHS.groups, 0.3, False, None, 0.4, 11)
        return found

    # Linear in the values: the gradient of a fixed mask is the difference quotient at any distance.
    direction = torch.randn_like(inputs[2])
    (gradient,) = torch.autograd.grad(run(*inputs).sum(), inputs[2])
    difference = (run(inputs[0], inputs[1], inputs[2] + direction) - run(*inputs)).sum()
    torch.testing.assert_close((gradient * direction).sum(), difference, atol=1e-3, rtol=1e-3)
