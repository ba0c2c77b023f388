"""The step: the same gradients for every plan, every split between kept and re-embedded, with dropout on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.training.step import Step, device_of, forward, held_out, in_item_order
from sightline.types import Batch, Embeddings, MicroBatch

LOSS = Matryoshka(InfoNCE(symmetric=True), (16, 8, 4))
CLOSE: dict[str, Any] = {"atol": 1e-6, "rtol": 1e-5}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain(
    model: nn.Module, batch: Batch, loss: Loss, scale: float = 1.0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the step must equal: embed everything with graph, one loss, one backward."""
    outputs = [model(micro_batch) for micro_batch in batch.micro_batches]
    values = torch.cat([output.values for output in outputs]).float()
    order = torch.cat([micro_batch.indices for micro_batch in batch.micro_batches])
    parts = loss(Embeddings(values[torch.argsort(order)]), batch)
    (sum(parts.values()) * scale).backward()
    found = gradients(model)
    model.zero_grad()
    return {name: part.detach() for name, part in parts.items()}, found


def run(
    model: nn.Module, batch: Batch, kept: int | None, **options: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parts = Step(kept).run(model, batch, LOSS, **options)
    found = gradients(model)
    model.zero_grad()
    return parts, found


@pytest.mark.parametrize("kept", [None, 0, 1, 3, 7, 99])
@pytest.mark.parametrize("per_group", [1, 5, 13, 72])
def test_equals_a_plain_step_with_dropout(
    make_encoder: Callable, make_batch: Callable, kept: int | None, per_group: int
) -> None:
    model, batch = make_encoder().train(), make_batch(per_group=per_group)
    torch.manual_seed(1)
    parts, expected = plain(model, batch, LOSS)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    got_parts, got = run(model, batch, kept)
    torch.testing.assert_close(got_parts, parts, **CLOSE)
    torch.testing.assert_close(got, expected, **CLOSE)
    assert torch.equal(torch.get_rng_state(), after), "the random state goes on as after a plain step"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_plan_any_split(make_encoder: Callable, make_batch: Callable, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(72)))
    cuts = sorted(data.draw(st.sets(st.integers(1, 71), max_size=12)))
    groups = [order[a:b] for a, b in zip([0, *cuts], [*cuts, 72], strict=True)]
    kept = data.draw(st.integers(0, len(groups)))
    model, batch = make_encoder().train(), make_batch(groups)
    torch.manual_seed(7)
    _, expected = plain(model, batch, LOSS)
    torch.manual_seed(7)
    _, got = run(model, batch, kept)
    torch.testing.assert_close(got, expected, **CLOSE)


def test_the_split_does_not_change_a_bit(make_encoder: Callable, make_batch: Callable) -> None:
    """However many graphs memory allowed, a resumed run ends where the whole run ended."""
    model, batch = make_encoder().train(), make_batch(per_group=6)
    results = []
    for kept in (None, 0, 5):
        torch.manual_seed(1)
        results.append(run(model, batch, kept)[1])
    for other in results[1:]:
        assert all(torch.equal(gradient, results[0][name]) for name, gradient in other.items())


def test_without_dropout_the_plan_does_not_matter(make_encoder: Callable, make_batch: Callable) -> None:
    model = make_encoder().eval()
    _, expected = run(model, make_batch(), None)
    for per_group, kept in ((1, 0), (4, 5), (10, None)):
        _, got = run(model, make_batch(per_group=per_group), kept)
        torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("kept", [None, 2, 0])
def test_accumulation_is_the_mean(make_encoder: Callable, make_batch: Callable, kept: int | None) -> None:
    model, first, second = make_encoder().eval(), make_batch(per_group=9), make_batch(per_group=20)
    second.columns_BC = second.columns_BC[:10]
    _, one = plain(model, first, LOSS, 0.5)
    _, two = plain(model, second, LOSS, 0.5)
    parts = Step(kept).run(model, first, LOSS, scale=0.5)
    Step(kept).run(model, second, LOSS, scale=torch.tensor(0.5))
    torch.testing.assert_close(gradients(model), {name: one[name] + two[name] for name in one}, **CLOSE)
    unscaled, _ = plain(make_encoder().eval(), first, LOSS)
    torch.testing.assert_close(parts, unscaled, **CLOSE)


@pytest.mark.parametrize("kept", [None, 3, 0])
@pytest.mark.parametrize("outside", [False, True])
def test_autocast(make_encoder: Callable, make_batch: Callable, kept: int | None, outside: bool) -> None:
    """bfloat16 by the step's own setting, or by a context around the whole step."""

    def cast() -> Any:
        return torch.autocast("cpu", torch.bfloat16)

    model, batch = make_encoder().train(), make_batch(per_group=11)
    torch.manual_seed(3)
    outputs = []
    for micro_batch in batch.micro_batches:
        with cast():
            outputs.append(model(micro_batch).values)
    order = torch.cat([micro_batch.indices for micro_batch in batch.micro_batches])
    sum(LOSS(Embeddings(torch.cat(outputs).float()[torch.argsort(order)]), batch).values()).backward()
    expected = gradients(model)
    model.zero_grad()
    torch.manual_seed(3)
    with cast() if outside else nullcontext():
        Step(kept, None if outside else torch.bfloat16).run(model, batch, LOSS)
    got = gradients(model)
    assert set(got) == set(expected), "no gradient may be lost to weights that were cast without a graph"
    torch.testing.assert_close(got, expected, **CLOSE)


def test_only_what_is_kept_stays_in_memory_and_one_micro_batch_moves_at_a_time(
    make_encoder: Callable, make_batch: Callable
) -> None:
    model, batch = make_encoder().train(), make_batch(per_group=8)
    with_graph: list[bool] = []
    model.register_forward_hook(lambda *_: with_graph.append(torch.is_grad_enabled()))
    Step(kept=2).run(model, batch, LOSS)
    assert with_graph == [True] * 2 + [False] * 7 + [True] * 7


def test_frozen_parts_and_unused_items(make_encoder: Callable, make_batch: Callable) -> None:
    model, batch = make_encoder().train(), make_batch(per_group=10)
    model.words.requires_grad_(False)
    batch.columns_BC = batch.columns_BC[:4]
    torch.manual_seed(2)
    _, expected = plain(model, batch, LOSS)
    torch.manual_seed(2)
    _, got = run(model, batch, 0)
    torch.testing.assert_close(got, expected, **CLOSE)
    model.requires_grad_(False)
    Step(0).run(model, batch, LOSS)
    assert not gradients(model)


def test_multi_vector_outputs(make_encoder: Callable, make_batch: Callable) -> None:
    """Token vectors of unequal length per micro-batch reach a loss that reads them."""

    class TokenVectors(nn.Module):
        def __init__(self, encoder: nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, micro_batch: MicroBatch) -> Embeddings:
            values = self.encoder.drop(self.encoder.words(micro_batch.features["input_ids"]))
            return Embeddings(values, micro_batch.features["mask"])

    def mean_square(embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        assert embeddings.mask is not None
        return {
            "square": (embeddings.values.square() * embeddings.mask.unsqueeze(-1)).sum() / batch.num_items
        }

    results = []
    for kept in (None, 0):
        model = TokenVectors(make_encoder()).train()
        torch.manual_seed(5)
        Step(kept).run(model, make_batch(per_group=7), mean_square)
        results.append(gradients(model))
    torch.testing.assert_close(*results)


def test_items_come_in_order(make_batch: Callable) -> None:
    shuffled = [[5, 3, 60], [i for i in range(72) if i not in (5, 3, 60)]]
    batch = make_batch(shuffled)
    outputs = [Embeddings(mb.indices[:, None].float()) for mb in batch.micro_batches]
    assert in_item_order(outputs, batch).values[:, 0].tolist() == list(range(72))


def test_the_loss_on_held_out_rows(make_encoder: Callable, make_batch: Callable) -> None:
    model = make_encoder().eval()
    expected, _ = plain(model, make_batch(), LOSS)
    got = held_out(model, make_batch(per_group=7), LOSS)
    torch.testing.assert_close(got, expected, **CLOSE)
    assert not any(part.requires_grad for part in got.values())
    low = held_out(model, make_batch(per_group=7), LOSS, autocast=torch.bfloat16)
    assert all(part.dtype == torch.float32 for part in low.values())
    assert forward(model, make_batch().micro_batches[0], torch.bfloat16).values.dtype == torch.bfloat16


def test_a_negative_number_of_graphs_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot keep -1 graphs"):
        Step(-1)


def test_device_of(make_encoder: Callable) -> None:
    assert device_of(make_encoder()) == torch.device("cpu")
