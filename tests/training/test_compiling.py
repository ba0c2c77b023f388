"""Compiled layers: the same gradients, for micro-batches of any shape, and only where they are faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline import InfoNCE, Trainer, TrainingArguments
from sightline.errors import ConfigError
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.training import compiling, engine
from sightline.training.compiling import Comparison, compare, compile_layers, pass_over, repeated_layers
from sightline.training.engine import Engine
from sightline.training.limits import Limits
from sightline.training.samples import Sample
from sightline.types import Features, MicroBatch
from support import tiny_models

CPU = torch.device("cpu")
ROWS = [{"anchor": f"How many plants in {year}?", "positive": f"The report of {year} counts {year % 7} plants."}
        for year in range(2010, 2018)]  # fmt: skip


def trained(folder: Path, dropout: float, **arguments: Any) -> tuple[Trainer, Mapping[str, Tensor]]:
    """A trainer after two steps, and its weights."""
    source = folder / "bert"
    if not source.exists():  # its weights are drawn anew each time
        tiny_models.bert(source, dropout=dropout)
    trainer = Trainer(
        Encoder.from_pretrained(source, device="cpu"),
        InfoNCE(),
        train_dataset=ROWS,
        args=TrainingArguments(
            output_dir=str(folder / "run"), max_steps=2, per_device_train_batch_size=8,
            # Adam would make steps of equal size out of gradients that are zero but for rounding.
            optim="sgd", learning_rate=0.1,
            disable_tqdm=True, save_strategy="no", dataloader_num_workers=0, seed=1, **arguments,
        ),
    )  # fmt: skip
    trainer.train()
    return trainer, dict(trainer.model.named_parameters())


def runs_compiled(model: nn.Module) -> set[bool]:
    return {layer._compiled_call_impl is not None for layer in repeated_layers(model)}


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


def test_a_run_that_names_a_backend_trains_compiled_layers_to_the_same_weights(tmp_path: Path) -> None:
    _, plain = trained(tmp_path, 0.0)
    trainer, found = trained(tmp_path, 0.0, torch_compile=True, torch_compile_backend="eager")
    assert runs_compiled(trainer.model) == {True}
    for name, one in plain.items():
        torch.testing.assert_close(found[name], one, rtol=1e-5, atol=1e-6, msg=name)


def test_layers_that_are_slower_compiled_stay_as_they_are_and_nothing_of_the_trial_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slower(work: Callable[[], None]) -> Comparison:
        work()
        return Comparison(2.0, 1.0)

    caplog.set_level("INFO", logger="sightline")
    _, plain = trained(tmp_path, 0.2)
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(engine, "compare", slower)
    trainer, found = trained(tmp_path, 0.2, torch_compile=True)
    assert runs_compiled(trainer.model) == {False}
    assert "takes 2 s compiled and 1 s as it is: the layers stay as they are" in caplog.text
    assert trainer._engine.state()["compiled"] is False
    for name, one in plain.items():
        assert torch.equal(found[name], one), name  # the same masks of dropout


def test_a_resumed_run_goes_on_as_it_was_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(engine, "compare", lambda work: pytest.fail("measured again"))
    encoder = Encoder.from_pretrained(tiny_models.bert(tmp_path / "bert"), device="cpu")
    args = TrainingArguments(output_dir=str(tmp_path / "run"), torch_compile=True)
    for settled in (False, True):
        resumed = Engine(InfoNCE(), args)
        resumed.restore({"token_budget": 100, "max_items": None, "compiled": settled})
        resumed.compile(encoder, encoder.collate)
        assert runs_compiled(encoder) == {settled}
        assert resumed.state()["compiled"] is settled


def test_the_least_of_several_turns_counts_and_what_compiling_takes_does_not() -> None:
    now, more = 0.0, iter([60.0, 30.0, 4.0, -0.5, 3.0, 3.0, 9.0])

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        def run(*values: Tensor) -> Any:
            nonlocal now
            now += next(more)
            return graph(*values)

        return run

    class Layer(nn.Linear):  # torch's own classes are not compiled
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values)

    layer = Layer(2, 2)
    layer.compile(backend=backend)

    def work() -> None:
        nonlocal now
        now += 2.5
        layer(torch.ones(1, 2))

    found = compare(work, clock=lambda: now)
    assert found == Comparison(compiled=2.0, plain=2.5)
    assert found.helps
    assert not Comparison(0.99, 1.0).helps


@pytest.mark.parametrize(
    ("limits", "rows"),
    [(Limits(), 315), (Limits(100), 7), (Limits(100, 3), 3), (Limits(5), 1), (Limits(None, 1), 1)],
)
def test_the_trial_keeps_within_the_limits_of_the_run(limits: Limits, rows: int, tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny_models.bert(tmp_path / "bert"), device="cpu")
    samples = [
        Sample(number, "anchor", encoder.preprocessor(parse(text), role=None, prompt=None), typical=True)
        for number, text in enumerate(("table " * 11, "a table"))
    ]
    assert [sample.features.cost.total for sample in samples] == [13, 4]
    collated: list[int] = []

    def collate(features: Sequence[Features], indices: Sequence[int]) -> MicroBatch:
        collated.append(len(features))
        return encoder.collate(features, indices)

    pass_over(encoder, collate, samples, None, limits)()
    assert collated == [rows]


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
