"""Frozen towers: in eval mode, embedded once, and nothing else changes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.read import read_checkpoint
from sightline.inputs.parse import parse
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense
from sightline.modules.router import Router, RoutingTable
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.engine import Engine
from sightline.training.frozen import FrozenVectors
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from sightline.training.trainer import Trainer
from sightline.types import Batch, Cost, MicroBatch
from support import tiny_models

ROWS = [
    {"anchor": f"pump number {number}", "positive": "valve " * (number % 7) + str(number % 12)}
    for number in range(24)
]


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Queries and documents through towers of their own."""
    folder = tiny_models.bert(tmp_path_factory.mktemp("frozen") / "bert", dropout=0.2)
    routes: dict[str, Any] = {}
    for seed, name in enumerate(("query", "document")):
        torch.manual_seed(seed)
        routes[name] = [*read_checkpoint(folder, LoadOptions()).parts, Dense(32, 16)]
    return Encoder([Router(routes, RoutingTable(routes=("query", "document")))])


@pytest.fixture
def make_dual(dual: Encoder) -> Callable[..., Encoder]:
    """``make_dual("document")``: a copy, with these routes frozen."""

    def make(*frozen: str) -> Encoder:
        encoder = copy.deepcopy(dual)
        for name in frozen:
            encoder.parts[0].sub_modules[name].requires_grad_(False)
        return encoder.train()

    return make


def make_batch(encoder: Encoder, rows: range = range(24), budget: int = 40) -> Batch:
    builder = BatchBuilder(
        encoder.preprocessor, encoder.collate, choose_columns(("anchor", "positive")), encoder.modalities,
        Limits(budget),
    )  # fmt: skip
    made = builder([(number, ROWS[number]) for number in rows])
    assert made["batch"] is not None
    return made["batch"]


def passes(towers: Mapping[str, nn.Module]) -> list[tuple[str, bool, bool]]:
    """Name, with graph, in training mode, of each forward pass of a tower from now on."""
    seen: list[tuple[str, bool, bool]] = []
    for name, tower in towers.items():

        def note(module: nn.Module, _: Any, name: str = name) -> None:
            seen.append((name, torch.is_grad_enabled(), module.training))

        tower.register_forward_pre_hook(note)
    return seen


@pytest.mark.parametrize("kept", [0, 2])
def test_the_gradients_are_those_of_a_step_that_embeds_everything(
    make_dual: Callable, kept: int | None
) -> None:
    results = []
    for cached in (False, True):
        encoder = make_dual("document")
        vectors = FrozenVectors()
        encoder.parts[0].sub_modules["document"].eval()
        for _ in range(2 if cached else 1):
            encoder.zero_grad()
            vectors.rest(encoder)
            torch.manual_seed(5)
            Step(kept, frozen=vectors if cached else None).run(encoder, make_batch(encoder), InfoNCE())
        results.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
        state = torch.get_rng_state()
        results.append({"state": state})
    torch.testing.assert_close(results[2], results[0], atol=1e-6, rtol=1e-5)
    assert torch.equal(results[3]["state"], results[1]["state"]), "dropout of the others draws as before"


def test_frozen_towers_are_run_once_in_eval_mode_and_without_graph(
    make_dual: Callable, tmp_path: Path
) -> None:
    encoder = make_dual("document")
    engine = Engine(InfoNCE(), TrainingArguments(output_dir=str(tmp_path), step_mode="cached"))
    batch = make_batch(encoder)
    seen = passes({name: parts[0] for name, parts in encoder.parts[0].routes().items()})
    documents = sum(one.features["route"] == "document" for one in batch.micro_batches)
    queries = len(batch.micro_batches) - documents
    for _ in range(3):
        encoder.train()
        engine.step(encoder, batch, share=1 / 3, scale=1.0, sync=True)
    assert seen.count(("document", False, False)) == documents
    assert seen.count(("query", False, True)) == seen.count(("query", True, True)) == 3 * queries
    assert len(seen) == documents + 6 * queries
    logs = engine.logs()
    assert logs["embedded_twice"] == 3 * queries
    assert logs["reused"] == 2 * sum(
        len(one) for one in batch.micro_batches if one.features["route"] == "document"
    )


def test_a_vector_stays_the_same_in_other_company(make_dual: Callable) -> None:
    encoder = make_dual("document")
    vectors = FrozenVectors()
    vectors.rest(encoder)
    found: dict[int, torch.Tensor] = {}
    for budget in (12, 40, 400):
        batch = make_batch(encoder, budget=budget)
        for one in batch.micro_batches:
            if vectors.covers(one):
                values = vectors.embed(batch, one).values
                for index, value in zip(one.indices.tolist(), values, strict=True):
                    assert torch.equal(found.setdefault(index, value), value)


def test_changed_weights_are_noticed(make_dual: Callable) -> None:
    encoder = make_dual("document")
    vectors = FrozenVectors()
    vectors.rest(encoder)
    batch = make_batch(encoder)
    one = next(one for one in batch.micro_batches if vectors.covers(one))
    before = vectors.embed(batch, one).values
    assert vectors.reused == 0
    tower = encoder.parts[0].sub_modules["document"]
    with torch.no_grad():
        tower[-1].linear.weight.mul_(2)
    changed = vectors.embed(batch, one).values
    assert vectors.reused == 0
    assert not torch.allclose(changed, before)
    with torch.no_grad():
        tower[-1].linear.weight.div_(2)
    assert torch.equal(vectors.embed(batch, one).values, before)
    assert vectors.reused == len(one)


def test_memory_is_bounded(make_dual: Callable) -> None:
    encoder = make_dual("document")
    vectors = FrozenVectors(limit=5 * 16 * 4)
    vectors.rest(encoder)
    batch = make_batch(encoder)
    for _ in range(2):
        for one in batch.micro_batches:
            if vectors.covers(one):
                vectors.embed(batch, one)
    assert vectors.reused == 5


def test_of_a_tower_with_a_trained_part_the_rest_is_frozen(make_dual: Callable) -> None:
    encoder = make_dual("document")
    tower = encoder.parts[0].sub_modules["document"]
    tower[-1].requires_grad_(True)
    vectors = FrozenVectors()
    vectors.rest(encoder)
    documents = [one for one in make_batch(encoder).micro_batches if one.features["route"] == "document"]
    assert not any(vectors.covers(one) for one in documents)
    assert all(vectors.begins(one) for one in documents)
    assert (tower[0].training, tower[-1].training) == (False, True)
    tower.requires_grad_(True)
    vectors.rest(encoder)
    assert not any(vectors.begins(one) for one in documents), "what is trained from now on is noticed"


def test_items_that_go_through_several_routes(tiny: Callable[[str], Path]) -> None:
    """A fused item's vector is kept if all its routes are frozen."""
    parts = [read_checkpoint(tiny("bert"), LoadOptions()).parts for _ in range(2)]
    router = Router({"text": parts[0], "other": parts[1]}, RoutingTable(routes=("text", "other")))
    encoder = Encoder([router])
    own = parts[0][0].processor(parse("a pump"), role=None, prompt=None).values  # type: ignore[union-attr]
    features = {f"text/{name}": value.unsqueeze(0) for name, value in own.items()}
    features |= {f"image/{name}": value.unsqueeze(0) for name, value in own.items()}
    fused = MicroBatch(
        features | {"route": "text=text:text+image=other:text", "fused": True, "modality": "image+text"},
        torch.arange(1), Cost(8),
    )  # fmt: skip
    router.table = replace(router.table, fusion={"text": 1.0, "image": 1.0})
    vectors = FrozenVectors()
    for trained, frozen in ((("other",), False), ((), True)):
        for name, tower in router.sub_modules.items():
            tower.requires_grad_(name in trained)
        vectors.rest(encoder)
        assert vectors.covers(fused) is frozen


def test_a_run_uses_them_and_a_resumed_one_too(
    make_dual: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    args = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=8, num_train_epochs=2, logging_steps=3, seed=1,
        dataloader_num_workers=0, disable_tqdm=True, save_strategy="steps", save_steps=3, optim="sgd",
    )  # fmt: skip
    encoder = make_dual("document")
    trainer = Trainer(encoder, InfoNCE(), train_dataset=ROWS, args=args)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "items" in entry]
    assert logs[1]["reused"] == 24
    again = make_dual("document")
    with caplog.at_level(logging.WARNING):
        Trainer(again, InfoNCE(), train_dataset=ROWS, args=args).train(str(tmp_path / "checkpoint-3"))
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, encoder.state_dict()[name]), name
