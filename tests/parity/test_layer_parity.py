"""AdaptiveLayers against sentence-transformers' AdaptiveLayerLoss and Matryoshka2dLoss, on a real architecture."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as st

from sightline.errors import ConfigError, DataError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.layers import AdaptiveLayers
from sightline.models.encoder import Encoder
from sightline.models.layers import layer_count
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.extras import LayerDraws
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from sightline.training.trainer import Trainer
from sightline.types import Batch, Embeddings

ROWS = [
    {
        "anchor": f"how many pumps in {1990 + n}",
        "positive": f"in {1990 + n} there were {n * 37} pumps " * (1 + n % 3),
    }
    for n in range(6)
]


def batch_for(encoder: Encoder, budget: int | None, layers: tuple[int, ...]) -> Batch:
    columns = choose_columns(("anchor", "positive"))
    builder = BatchBuilder(
        encoder.preprocessor,
        encoder.collate,
        columns,
        encoder.modalities,
        Limits(budget),
        encoder.packed_groups,
    )
    batch = builder(list(enumerate(ROWS)))["batch"]
    assert batch is not None
    batch.layers = layers
    return batch


@pytest.fixture(params=["bert", "qwen3"])
def folder(request: pytest.FixtureRequest, tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A tiny model that both libraries read alike, without dropout."""
    encoder = Encoder.from_pretrained(tiny(request.param), device="cpu")
    encoder.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("weighting", ["uniform", "log", "linear"])
@pytest.mark.parametrize("nested", [False, True])
def test_value_and_gradients_equal_those_of_sentence_transformers(
    folder: Path, weighting: Any, nested: bool
) -> None:
    encoder = Encoder.from_pretrained(folder, device="cpu").eval().double()  # gradients go up to 10
    dim = encoder.embedding_dim
    dims = (dim, dim // 2)
    options = {
        "last_layer_weight": 0.7,
        "prior_layers_weight": 1.3,
        "kl_div_weight": 0.9,
        "kl_temperature": 0.4,
    }
    model = SentenceTransformer(str(folder), device="cpu").eval().double()
    inner = st.MultipleNegativesRankingLoss(model)
    if nested:
        theirs: Any = st.Matryoshka2dLoss(
            model,
            inner,
            list(dims),
            n_layers_per_step=-1,
            n_dims_per_step=-1,
            layer_weighting=weighting,
            **options,
        )
    else:
        theirs = st.AdaptiveLayerLoss(
            model, inner, n_layers_per_step=-1, layer_weighting=weighting, **options
        )
    features = [model.preprocess([row[column] for row in ROWS]) for column in ("anchor", "positive")]
    random.seed(0)
    expected = theirs(features, None)
    expected.backward()

    loss = AdaptiveLayers(
        Matryoshka(InfoNCE(), dims) if nested else InfoNCE(),
        layers_per_step=-1,
        last_weight=0.7,
        prior_weight=1.3,
        kl_weight=0.9,
        kl_temperature=0.4,
        layer_weighting=weighting,
    )
    layers = tuple(range(layer_count(encoder.parts[0])))
    assert len(layers) >= 2
    wanted = {name: p.grad for name, p in model[0].auto_model.named_parameters() if p.grad is not None}
    for kept, budget in ((None, None), (0, 30)):
        encoder.zero_grad()
        parts = Step(kept).run(encoder, batch_for(encoder, budget, layers), loss)
        assert float(sum(parts.values())) == pytest.approx(float(expected.detach()), abs=1e-5)
        found = {
            name: p.grad
            for name, p in encoder.backbones()[""].model.named_parameters()
            if p.grad is not None and p.grad.abs().max() > 0
        }
        assert len(found) > 10
        for name, gradient in found.items():
            torch.testing.assert_close(
                gradient, wanted[name], atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_a_batch_without_layers_has_the_loss_of_the_last() -> None:
    values = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    batch = Batch([], torch.arange(12), torch.arange(12).reshape(6, 2), ("query", "document"))
    plain = InfoNCE()(Embeddings(values), batch)
    torch.testing.assert_close(AdaptiveLayers(InfoNCE(), last_weight=1.0)(Embeddings(values), batch), plain)


def test_gradcheck() -> None:
    values = torch.randn(
        8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    batch = Batch([], torch.arange(8), torch.arange(8).reshape(4, 2), ("query", "document"), layers=(0, 3))
    # The last layer is the teacher of the divergence and gets no gradient from it, so it is held fixed here.
    last = values.detach()[:, :3]
    loss = AdaptiveLayers(InfoNCE(0.5), layer_weighting="log")

    def total(prior: torch.Tensor) -> torch.Tensor:
        return sum(loss(Embeddings(last, beside=prior), batch).values())  # type: ignore[return-value]

    # InfoNCE scales its gradient once it has it, or computes it again scaled: the last bits differ.
    prior = values[:, 3:].detach().requires_grad_()
    assert torch.autograd.gradcheck(total, (prior,), nondet_tol=1e-12)


def test_layers_are_drawn_anew_and_again_when_resumed(tiny_encoder: Callable) -> None:
    encoder, loss = tiny_encoder("bert"), AdaptiveLayers(InfoNCE())
    assert layer_count(encoder.parts[0]) >= 2

    def draws(steps: range) -> list[tuple[int, ...]]:
        drawing = LayerDraws(3)
        return [drawing.draw(loss, encoder, step) for step in steps for _ in range(2)]

    all_of_them = draws(range(20))
    assert draws(range(10, 20)) == all_of_them[20:]
    assert {len(one) for one in all_of_them} == {1}
    assert len(set(all_of_them)) >= 2
    assert LayerDraws(3).draw(InfoNCE(), encoder, 0) == ()
    everything = AdaptiveLayers(InfoNCE(), layers_per_step=-1)
    assert LayerDraws(3).draw(everything, encoder, 0) == tuple(range(layer_count(encoder.parts[0])))


def test_a_run_logs_the_parts_and_learns_the_first_layers(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    def after(loss: Loss | dict[str, Loss], rows: Any) -> Trainer:
        encoder = Encoder.from_pretrained(tiny("bert"), device="cpu")
        args = TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=6, max_steps=8, learning_rate=3e-3,
            logging_steps=1, save_strategy="no", dataloader_num_workers=0, disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(encoder, loss, train_dataset=rows, eval_dataset={"held": ROWS}, args=args)
        trainer.train()
        return trainer

    both = AdaptiveLayers(InfoNCE(), layers_per_step=-1)
    trainer = after({"pairs": both, "held": both}, {"pairs": ROWS})
    first, last = trainer.state.log_history[0], trainer.state.log_history[7]
    assert {"pairs_infonce", "pairs_infonce_prior", "pairs_layers_kl"} <= set(first)
    assert last["pairs_infonce_prior"] < first["pairs_infonce_prior"]
    assert set(trainer.evaluate()) >= {"eval_held_infonce"}


def test_wrong_uses_are_named(make_simple: Callable, tmp_path: Path) -> None:
    for options, message in (
        ({"layers_per_step": 0}, "at least 1, or -1 for all"),
        ({"layer_weighting": "square"}, "knows the layer_weighting"),
        ({"kl_weight": -1.0}, "kl_weight of AdaptiveLayers must not be negative"),
    ):
        with pytest.raises(ConfigError, match=message):
            AdaptiveLayers(InfoNCE(), **options)
    with pytest.raises(ConfigError, match="AdaptiveLayers trains an Encoder"):
        LayerDraws(0).draw(AdaptiveLayers(InfoNCE()), torch.nn.Linear(1, 1), 0)
    with pytest.raises(ConfigError, match="its layers have no vectors"):
        layer_count(torch.nn.Linear(1, 1))
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, dataloader_num_workers=0, disable_tqdm=True
    )
    with pytest.raises(DataError, match=r"AdaptiveLayers has to stand outermost, .* not inside of Sum"):
        make_simple(Sum([AdaptiveLayers(InfoNCE())]), args)


@pytest.fixture
def make_simple(tiny_encoder: Callable) -> Callable[[Loss, TrainingArguments], None]:
    def run(loss: Loss, args: TrainingArguments) -> None:
        Trainer(tiny_encoder("bert"), loss, train_dataset=ROWS, args=args).train()

    return run
