"""The engine: a step that runs out of memory is undone and done again in smaller pieces."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import TrainingError
from sightline.inputs.parse import parse
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoding_passes import _MOST
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.distributed import Ranks
from sightline.training.engine import Engine
from sightline.training.memory import positions
from sightline.training.plan import CPU_TOKENS, Account
from sightline.training.rows import choose_columns
from sightline.training.samples import Sample
from sightline.training.step import Step, held_out
from sightline.types import Batch, Embeddings, MicroBatch

LOSS = Matryoshka(InfoNCE(), (16, 8))
# Other micro-batches add up in another order.
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


class Small(nn.Module):
    """An encoder on a device that has memory for so many positions with a graph, in all, and no more."""

    def __init__(self, encoder: nn.Module, room: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.room = room
        self.held = 0
        self.passes = 0

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        self.passes += 1
        output = self.encoder(micro_batch)
        if torch.is_grad_enabled():
            if self.held + positions(micro_batch) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")
            self.held += positions(micro_batch)
            weakref.finalize(output.values, self.freed, positions(micro_batch))
        return output

    def freed(self, count: int) -> None:
        self.held -= count


class Narrow(nn.Module):
    """An encoder on a device that has memory for so many positions in a pass."""

    def __init__(self, encoder: nn.Module, room: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.room = room
        self.sizes: list[int] = []

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        if positions(micro_batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.sizes.append(positions(micro_batch))
        return self.encoder(micro_batch)


class Rig:
    """An engine over the rows of a test, planned in this process."""

    def __init__(self, encoder: Any, rows: list, folder: Path, **options: Any) -> None:
        self.args = TrainingArguments(output_dir=str(folder), dataloader_num_workers=0, **options)
        self.limits = self.args.limits
        self.rows = rows
        self.builder = BatchBuilder(
            encoder.preprocessor, encoder.collate, choose_columns(tuple(rows[0])), encoder.modalities,
            self.limits,
        )  # fmt: skip
        self.told: list[str] = []
        self.rebuilds = 0
        self.engine = Engine(LOSS, self.args, self.limits, rebuild=self.rebuild, tell=self.told.append)

    def batch(self, *numbers: int) -> Batch:
        made = self.builder([(number, self.rows[number]) for number in numbers or range(len(self.rows))])
        assert made["batch"] is not None
        return made["batch"]

    def rebuild(self, batch: Batch) -> Batch:
        self.rebuilds += 1
        return self.batch(*batch.rows)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def wanted(encoder: nn.Module, *batches: Batch, scale: float = 1.0) -> dict[str, Tensor]:
    for batch in batches:
        Step().run(encoder, batch, LOSS, scale=scale)
    found = {f"encoder.{name}": gradient for name, gradient in gradients(encoder).items()}
    encoder.zero_grad()
    return found


@pytest.fixture
def make_rig(make_encoder: Callable, text_rows: list, tmp_path: Path) -> Callable[..., tuple[Any, Rig]]:
    def make(dropout: float = 0.0, **options: Any) -> tuple[Any, Rig]:
        encoder = make_encoder(dropout=dropout).train()
        return encoder, Rig(encoder, text_rows, tmp_path, **({"token_budget": 128} | options))

    return make


@pytest.mark.parametrize("room", [400, 130, 40, 12])
def test_a_step_without_memory_is_repeated_in_smaller_pieces(
    make_rig: Callable, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, rig = make_rig()
    expected = wanted(encoder, rig.batch())
    model = Small(encoder, room)
    with caplog.at_level(logging.INFO, "sightline.training.engine"):
        parts = rig.engine.step(model, rig.batch(), share=1.0, scale=1.0, sync=True)
    torch.testing.assert_close(gradients(model), expected, **CLOSE)
    torch.testing.assert_close(parts, Step().run(encoder, rig.batch(), LOSS), **CLOSE)
    assert rig.rebuilds >= 1
    assert rig.limits.token_budget is not None
    assert rig.limits.token_budget < 128, "workers plan by the smaller budget from now on"
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said == [line for line in rig.told if line.startswith("Out of memory")]
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in said[0]
    assert "at most" in said[0]
    assert "tokens per micro-batch" in said[0]


def test_later_batches_keep_the_smaller_budget(make_rig: Callable) -> None:
    encoder, rig = make_rig()
    prefetched = rig.batch(*range(8, 24))
    expected = wanted(encoder, prefetched)
    model = Small(encoder, 50)
    rig.engine.step(model, rig.batch(*range(8)), share=1.0, scale=1.0, sync=True)
    model.zero_grad()
    failures, rebuilds = len(rig.told), rig.rebuilds
    rig.engine.step(model, prefetched, share=1.0, scale=1.0, sync=True)
    torch.testing.assert_close(gradients(model), expected, **CLOSE)
    assert rig.rebuilds > rebuilds, "what a worker planned under the old budget is planned anew"
    assert len(rig.told) <= failures + 1


def test_the_gradients_of_earlier_batches_stay(make_rig: Callable) -> None:
    encoder, rig = make_rig()
    first, second = rig.batch(*range(3)), rig.batch(*range(3, 24))
    expected = wanted(encoder, first, second, scale=0.5)
    model = Small(encoder, 90)
    rig.engine.step(model, first, share=0.5, scale=0.5, sync=False)
    assert not any(line.startswith("Out of memory") for line in rig.told)
    rig.engine.step(model, second, share=0.5, scale=0.5, sync=True)
    assert any(line.startswith("Out of memory") for line in rig.told)
    torch.testing.assert_close(gradients(model), expected, **CLOSE)


def test_memory_that_ends_in_the_backward_pass(make_rig: Callable) -> None:
    """Some gradients were added already; they are taken back."""
    encoder, rig = make_rig()
    expected = wanted(encoder, rig.batch())
    failed = []

    def fail(gradient: Tensor) -> Tensor:
        if encoder.out[0].weight.grad is not None and not failed:
            failed.append(True)
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: ..."
            )
        return gradient

    encoder.words.weight.register_hook(fail)
    model = Small(encoder, 10**9)
    rig.engine.step(model, rig.batch(), share=1.0, scale=1.0, sync=True)
    assert failed
    torch.testing.assert_close(gradients(model), expected, **CLOSE)


def test_the_repeated_step_starts_from_the_same_random_state(make_rig: Callable) -> None:
    encoder, rig = make_rig(dropout=0.3)
    torch.manual_seed(4)
    rig.engine.step(Small(encoder, 60), rig.batch(), share=1.0, scale=1.0, sync=True)
    found, after = gradients(encoder), torch.get_rng_state()
    encoder.zero_grad()
    torch.manual_seed(4)
    Step(0).run(encoder, rig.batch(), LOSS)  # under the limits that were found
    assert torch.equal(torch.get_rng_state(), after)
    torch.testing.assert_close(found, gradients(encoder), **CLOSE)


def test_an_item_that_does_not_fit_alone_is_named(make_rig: Callable, text_rows: list) -> None:
    text_rows[13]["negative"] = "staff " * 90
    encoder, rig = make_rig()
    model = Small(encoder, 60)
    with pytest.raises(
        TrainingError, match=r"row 13, column 'negative' \(90 tokens\) does not fit even alone"
    ):
        rig.engine.step(model, rig.batch(), share=1.0, scale=1.0, sync=True)
    assert not gradients(model)


@pytest.mark.parametrize("options", [{"token_budget": 128}, {"token_budget": None, "micro_batch": 1}])
@pytest.mark.parametrize("mode", ["auto", "cached", "direct"])
def test_every_mode_ends_where_one_item_does_not_fit(
    make_rig: Callable, text_rows: list, mode: str, options: dict
) -> None:
    text_rows[13]["negative"] = "staff " * 90
    encoder, rig = make_rig(step_mode=mode, **options)
    named = r"the item in row 13, column 'negative' \(90 tokens\) does not fit even alone"
    with pytest.raises(TrainingError, match=named):
        rig.engine.step(Small(encoder, 89), rig.batch(), share=1.0, scale=1.0, sync=True)


@pytest.mark.parametrize("options", [{"token_budget": 128}, {"token_budget": None, "micro_batch": 1}])
@pytest.mark.parametrize("mode", ["auto", "cached", "direct"])
def test_every_mode_goes_on_where_memory_just_lasts(
    make_rig: Callable, text_rows: list, mode: str, options: dict
) -> None:
    text_rows[13]["negative"] = "staff " * 90
    encoder, rig = make_rig(step_mode=mode, **options)
    batch = rig.batch()
    expected = wanted(encoder, batch)
    alone = 90
    together = sum(one.cost.tokens for one in batch.micro_batches)
    model = Small(encoder, together if mode == "direct" else alone)
    rig.engine.step(model, batch, share=1.0, scale=1.0, sync=True)
    torch.testing.assert_close(gradients(model), expected, **CLOSE)


def test_graphs_that_do_not_fit_together_are_told_from_an_item_that_does_not_fit(
    make_rig: Callable, text_rows: list
) -> None:
    text_rows[13]["negative"] = "staff " * 90
    encoder, rig = make_rig(step_mode="direct")
    room = sum(one.cost.tokens for one in rig.batch().micro_batches) - 1
    named = r"row 13, column 'negative' \(90 tokens\)\), but the graphs of all .*; use step_mode='auto'"
    with pytest.raises(TrainingError, match=named):
        rig.engine.step(Small(encoder, room), rig.batch(), share=1.0, scale=1.0, sync=True)
    assert not gradients(encoder)


def test_a_loss_that_does_not_fit_is_not_blamed_on_an_item(make_rig: Callable) -> None:
    encoder, rig = make_rig()

    def loss(embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    rig.engine.loss = loss
    with pytest.raises(TrainingError, match=r"each of the 72 items of the batch fits alone, but their loss"):
        rig.engine.step(encoder, rig.batch(*range(24)), share=1.0, scale=1.0, sync=True)


def test_other_errors_pass(make_rig: Callable) -> None:
    encoder, rig = make_rig()

    def loss(embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        raise RuntimeError("size mismatch")

    rig.engine.loss = loss
    with pytest.raises(RuntimeError, match="size mismatch"):
        rig.engine.step(encoder, rig.batch(), share=1.0, scale=1.0, sync=True)


@dataclass(frozen=True)
class Peered(Ranks):
    """One process that hears of a peer whose limits are others."""

    peer: tuple[int | None, int | None] = (None, None)

    def exchange(self, value: Any, what: str = "") -> list[Any]:
        return [value, (*self.peer, 1000)] if what == "agreeing on limits" else super().exchange(value, what)


@pytest.mark.parametrize(
    ("peer", "agreed"), [((32, None), (32, None)), ((4096, None), (128, None)), ((None, 3), (128, 3))]
)
def test_the_smallest_limits_of_all_ranks_hold(
    make_rig: Callable, peer: tuple[int | None, int | None], agreed: tuple[int | None, int | None]
) -> None:
    encoder, rig = make_rig()
    engine = Engine(LOSS, rig.args, rig.limits, ranks=Peered(peer=peer))
    take = [Sample(row=0, column="anchor", features=encoder.preprocessor(parse("some words")), typical=True)]
    engine.prepare(encoder, encoder.collate, take, 8)
    assert (rig.limits.token_budget, rig.limits.max_items) == agreed
    assert engine.state() == {"token_budget": agreed[0], "max_items": agreed[1], "frozen_bytes": 1000}


def test_the_plan_and_the_truth_are_told_once(make_rig: Callable) -> None:
    encoder, rig = make_rig()
    for _ in range(2):
        rig.engine.step(encoder, rig.batch(), share=1.0, scale=1.0, sync=True)
    assert [line.split(":")[0] for line in rig.told] == ["Memory plan", "Memory after the first step"]
    logs = rig.engine.logs()
    assert 0.01 < logs["peak_gb"] < 1000
    assert logs["items"] == 72


def test_a_restored_plan_has_the_same_limits(make_rig: Callable) -> None:
    _, rig = make_rig()
    rig.limits.set(31, None)
    _, other = make_rig()
    other.engine.restore(rig.engine.state())
    assert other.limits.token_budget == 31
    other.engine.restore({})
    assert other.limits.token_budget == 31


def test_held_out_rows_are_embedded_in_smaller_pieces(make_rig: Callable) -> None:
    encoder, rig = make_rig()
    encoder.eval()
    batch = rig.batch()
    expected = held_out(encoder, batch, LOSS)
    model = Narrow(encoder, 30)
    room = rig.engine._plan.room
    parts = rig.engine.held_out(model, batch, rig.rebuild)
    torch.testing.assert_close(parts, expected, **CLOSE)
    assert max(model.sizes) <= 30
    assert rig.limits.token_budget is not None
    assert rig.limits.token_budget <= 64
    assert rig.engine._plan.room == room, "what training may keep of graphs stays"
    rig.engine.held_out(model, batch, rig.rebuild)
    assert len([line for line in rig.told if line.startswith("Out of memory with held-out rows")]) == 2
    with pytest.raises(
        TrainingError, match=r"of the held-out rows, the item in row \d+, column .* even alone"
    ):
        rig.engine.held_out(Narrow(encoder, 1), batch, rig.rebuild)


def test_a_loss_of_held_out_rows_that_does_not_fit(make_rig: Callable) -> None:
    encoder, rig = make_rig(micro_batch=1)

    def loss(embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    rig.engine.loss = loss
    with pytest.raises(TrainingError, match=r"not their loss .*; use a smaller per_device_eval_batch_size"):
        rig.engine.held_out(encoder, rig.batch(), rig.rebuild)


def test_encoding_beside_the_training_keeps_to_a_plan_that_is_short_of_memory(make_rig: Callable) -> None:
    _, rig = make_rig()
    plan = rig.engine._plan
    seen = []
    for account, budget in ((None, 128), (Account(2e9, 1e9), 128), (Account(2e9, 1e9), CPU_TOKENS)):
        plan.account = account
        plan.limits.set(budget, None)
        with rig.engine.aside():
            seen.append(_MOST.get())
    assert seen == [None, 128, None]
    assert _MOST.get() is None
