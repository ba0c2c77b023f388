"""The memory plan: derived from measurements, told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import ConfigError, TrainingError
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.check import check_rows
from sightline.training.limits import Limits
from sightline.training.memory import positions, used_bytes
from sightline.training.plan import CPU_TOKENS, LEAST_TOKENS, MemoryPlan
from sightline.training.rows import as_rows, choose_columns
from sightline.training.samples import take_samples
from sightline.types import Batch


@pytest.fixture
def make_plan(
    make_encoder: Callable, text_rows: list, tmp_path: Path
) -> Callable[..., tuple[Any, MemoryPlan]]:
    """``make_plan(**arguments)``: an encoder and the plan made for it on the rows."""

    def make(**options: Any) -> tuple[Any, MemoryPlan]:
        encoder = make_encoder(dropout=0.0).train()
        args = TrainingArguments(output_dir=str(tmp_path), dataloader_num_workers=0, **options)
        plan = MemoryPlan(args, args.limits)
        rows = as_rows(text_rows)
        builder = BatchBuilder(
            encoder.preprocessor, encoder.collate, choose_columns(rows.column_names), encoder.modalities
        )
        report = check_rows(rows, builder, show_progress=False)
        samples = take_samples(rows, builder, report.good, report.sizes)
        plan.prepare(encoder, encoder.collate, samples, 72)
        return encoder, plan

    return make


def test_with_room_every_graph_is_kept_and_the_budget_suits_the_device(
    make_plan: Callable, make_batch: Callable
) -> None:
    encoder, plan = make_plan()
    batch = make_batch(per_group=8)
    assert plan.limits.token_budget == CPU_TOKENS
    assert plan.kept(encoder, batch) == 9
    line = plan.line(batch, 9)
    assert line.startswith(
        "Memory plan: 72 items per step in 9 micro-batches of up to 2,048 tokens; 9 kept, 0 "
    )
    assert "embedded twice; expected peak " in line


def test_the_costliest_items_are_measured(make_plan: Callable, text_rows: list) -> None:
    text_rows[17]["negative"] = "staff " * 500
    _, plan = make_plan()
    (footprint,) = plan.footprints.values()
    assert footprint.length == 500


def test_less_memory_keeps_less_and_makes_smaller_micro_batches(
    make_plan: Callable, make_batch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, budgets = [], []
    batch = make_batch(per_group=4)
    for room in (1e9, 36_000, 28_000, 20_000, 0):
        encoder, plan = make_plan(token_budget=4096)
        plan.room = room
        kept.append(plan.kept(encoder, batch))
        budgets.append(plan._token_budget(torch.device("cpu")))
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 18
    assert 0 < kept[2] < 18
    assert kept[-1] == 0
    assert budgets == sorted(budgets, reverse=True)
    assert (budgets[0], budgets[-1]) == (CPU_TOKENS, LEAST_TOKENS)


def test_what_is_kept_fits_by_the_measure(make_plan: Callable, make_batch: Callable) -> None:
    encoder, plan = make_plan()
    batch = make_batch(per_group=4)
    plan.room = 28_000
    kept = plan.kept(encoder, batch)
    graphs = [plan._graph(one) for one in batch.micro_batches]
    working = plan._working(list(batch.micro_batches))
    assert sum(graphs[:kept]) + working <= 28_000 < sum(graphs[: kept + 1]) + working
    assert plan.account is not None
    assert plan.peak(batch, kept) <= plan.account.base + 28_000


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({"token_budget": 77}, (77, None)),
        ({"micro_batch": 1}, (None, 1)),
        ({"micro_batch": 3, "token_budget": 50}, (50, 3)),
    ],
)
def test_what_is_set_stays(make_plan: Callable, options: dict, limits: tuple) -> None:
    _, plan = make_plan(**options)
    assert (plan.limits.token_budget, plan.limits.max_items) == limits


@pytest.mark.parametrize(("mode", "kept"), [("direct", 9), ("cached", 0)])
def test_a_set_mode_wins(make_plan: Callable, make_batch: Callable, mode: str, kept: int) -> None:
    encoder, plan = make_plan(step_mode=mode)
    assert plan.kept(encoder, make_batch(per_group=8)) == kept


def test_a_memory_budget_bounds_the_room(make_plan: Callable) -> None:
    used = used_bytes(torch.device("cpu"))
    _, plan = make_plan(memory_budget=2.0 * used + 2e9)
    assert 0 < plan.room < used + 2e9
    with pytest.raises(ConfigError, match=r"memory_budget='1MB' is too small: weights, gradients, optimizer"):
        make_plan(memory_budget="1MB")


def test_an_unknown_kind_is_measured_when_it_comes(make_plan: Callable, make_batch: Callable) -> None:
    encoder, plan = make_plan()
    batch = make_batch(per_group=36)
    for one in batch.micro_batches:
        one.features["group"] = "another"
    assert plan.kept(encoder, batch) == 2
    assert len(plan.footprints) == 2


def test_shrinking_halves_what_was_used(make_plan: Callable, make_batch: Callable) -> None:
    encoder, plan = make_plan()
    batch: Batch = make_batch(per_group=8)
    assert plan.is_within(batch)
    graphs = sum(plan._graph(one) for one in batch.micro_batches)
    plan.shrink(batch, 9)
    assert plan.room == pytest.approx(graphs / 2)
    assert plan.limits.token_budget == max(positions(one) for one in batch.micro_batches) // 2
    assert not plan.is_within(batch)
    assert plan.kept(encoder, batch) < 9
    assert plan.is_within(make_batch(per_group=1)), "one item alone is as small as it gets"


def test_an_item_that_does_not_fit_is_named(
    make_plan: Callable, text_rows: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_rows[5]["positive"] = "staff " * 300

    def measure(model: Any, micro_batch: Any, autocast: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")

    monkeypatch.setattr("sightline.training.plan.measure", measure)
    with pytest.raises(TrainingError, match=r"row 5, column 'positive' \(300 tokens\) does not fit"):
        make_plan()


def test_limits_are_what_a_plan_remembers(make_plan: Callable) -> None:
    _, plan = make_plan(token_budget=64)
    assert plan.state() == {"token_budget": 64, "max_items": None}
    assert isinstance(plan.limits, Limits)
