"""Learning rates by route, part or name, and freezing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sightline.errors import ConfigError
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.parameters import frozen, rates_of, weights_named
from sightline.training.trainer import Trainer
from support.adapted import trained
from support.run_arguments import maker


@pytest.fixture
def make_arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return maker(
        tmp_path, max_steps=1, per_device_train_batch_size=4, learning_rate=1e-2, optim="sgd", warmup_steps=0,
        lr_scheduler_type="constant", max_grad_norm=0.0,
    )  # fmt: skip


@pytest.fixture
def make_dual(tiny: Callable[[str], Path]) -> Callable[[], Encoder]:
    def make() -> Encoder:
        torch.manual_seed(0)
        return Encoder.from_routes(
            {
                "text": Encoder.from_pretrained(tiny("bert"), device="cpu"),
                "image": Encoder.from_pretrained(tiny("vit"), device="cpu"),
            }
        )

    return make


@pytest.fixture
def rows(pictures: list[Image.Image]) -> list[dict[str, Any]]:
    return [{"anchor": f"picture {number}", "positive": one} for number, one in enumerate(pictures)]


def moved(encoder: Encoder, rows: Any, arguments: TrainingArguments) -> dict[str, torch.Tensor]:
    """How far each weight goes in a run."""
    before = {name: weight.detach().clone() for name, weight in encoder.named_parameters()}
    Trainer(encoder, InfoNCE(), train_dataset=rows, args=arguments).train()
    return {name: weight.detach() - before[name] for name, weight in encoder.named_parameters()}


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rates": {"image": 3e-2}},
        {"learning_rate_mapping": {r"sub_modules\.image\.": 3e-2}},
        {"learning_rate_mapping": {r"^model\.0\.sub_modules\.image": 3e-2}},  # as ST calls its weights
        {"learning_rates": {"parts": 3e-2}, "learning_rate_mapping": {r"sub_modules\.text\.": 1e-2}},
    ],
)
def test_a_route_learns_at_its_own_rate(
    options: dict[str, Any], make_dual: Callable[[], Encoder], make_arguments: Callable[..., Any], rows: Any
) -> None:
    """A step of plain SGD goes as far as the rate says."""
    evenly = moved(make_dual(), rows, make_arguments(seed=3))
    faster = moved(make_dual(), rows, make_arguments(seed=3, **options))
    assert any(step.abs().max() > 1e-6 for name, step in evenly.items() if ".image." in name)
    for name, step in evenly.items():
        times = 3.0 if ".sub_modules.image." in name else 1.0
        torch.testing.assert_close(faster[name], times * step, rtol=1e-3, atol=1e-6, msg=name)


def test_groups_keep_their_weight_decay(
    make_dual: Callable[[], Encoder], make_arguments: Callable[..., Any], rows: Any
) -> None:
    encoder = make_dual()
    arguments = make_arguments(
        optim="adamw_torch", weight_decay=0.1, learning_rates={"image": 3e-2}, learning_rate=1e-2
    )
    trainer = Trainer(encoder, InfoNCE(), train_dataset=rows, args=arguments)
    optimizer = trainer.create_optimizer()
    found = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert set(found) == {(1e-2, 0.1), (1e-2, 0.0), (3e-2, 0.1), (3e-2, 0.0)}
    assert sum(found.values()) == len(list(encoder.parameters()))
    image = {id(weight) for weight in encoder.backbones()["image"].parameters()}
    for group in optimizer.param_groups:
        assert all((id(weight) in image) is (group["lr"] == 3e-2) for weight in group["params"])


def test_the_schedule_goes_for_every_rate(
    make_dual: Callable[[], Encoder], make_arguments: Callable[..., Any], rows: Any
) -> None:
    arguments = make_arguments(max_steps=4, lr_scheduler_type="linear", learning_rates={"image": 4e-2})
    trainer = Trainer(make_dual(), InfoNCE(), train_dataset=rows, args=arguments)
    trainer.create_optimizer_and_scheduler(4)
    assert trainer.optimizer is not None
    assert trainer.lr_scheduler is not None
    for share in (0.75, 0.5):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        rates = sorted({group["lr"] for group in trainer.optimizer.param_groups})
        assert rates == pytest.approx([1e-2 * share, 4e-2 * share])


def test_what_is_frozen_rests_and_is_trained_again_afterwards(
    make_dual: Callable[[], Encoder], make_arguments: Callable[..., Any], rows: Any
) -> None:
    encoder = make_dual()
    everything = trained(encoder)
    steps = moved(encoder, rows, make_arguments(freeze=["text"]))
    assert all(not step.any() for name, step in steps.items() if ".sub_modules.text." in name)
    assert any(step.any() for name, step in steps.items() if ".sub_modules.image." in name)
    assert trained(encoder) == everything


def test_a_tower_inside_a_model_can_rest(
    tiny: Callable[[str], Path], make_arguments: Callable[..., Any], rows: Any
) -> None:
    encoder = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu")
    steps = moved(encoder, rows, make_arguments(freeze=["vision"], learning_rates={"language": 1e-2}))
    assert all(not step.any() for name, step in steps.items() if ".visual." in name)
    assert any(step.any() for name, step in steps.items() if ".language_model." in name)


def test_names_that_mean_nothing_are_found_before_the_first_step(
    make_dual: Callable[[], Encoder], make_arguments: Callable[..., Any], rows: Any
) -> None:
    encoder = make_dual()
    for options, words in (
        ({"learning_rates": {"imgae": 1e-3}}, "learning_rates names 'imgae'.*did you mean 'image'"),
        ({"freeze": ["audio"]}, "freeze names 'audio'.*language, vision, text, image"),
        (
            {"learning_rate_mapping": {"StaticEmbedding": 1e-3}},
            "is found in no weight's name; the first are parts.0.",
        ),
        ({"learning_rate_mapping": {"(": 1e-3}}, "is no regular expression"),
        ({"freeze": ["text", "image"]}, "leaves no weight to train"),
    ):
        with pytest.raises(ConfigError, match=words):
            Trainer(encoder, InfoNCE(), train_dataset=rows, args=make_arguments(**options))
    for options, words in (
        ({"learning_rates": {"image": -1.0}}, "rate of 'image' must be a number from 0"),
        ({"learning_rates": {"image": float("nan")}}, "rate of 'image' must be a number from 0"),
        ({"freeze": "text"}, "freeze is a list of names"),
        ({"roles": {"a": "query"}, "router_mapping": {"a": "document"}}, "two names of one thing"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_arguments(**options)
    with pytest.raises(ConfigError, match="optimizer of your own"):
        Trainer(
            encoder,
            InfoNCE(),
            train_dataset=rows,
            args=make_arguments(learning_rates={"image": 1e-3}),
            optimizers=(torch.optim.SGD(encoder.parameters()), None),
        )


def test_router_mapping_is_roles(make_arguments: Callable[..., Any]) -> None:
    assert make_arguments(router_mapping={"question": "query"}).roles == {"question": "query"}


def test_the_last_entry_holds_and_shared_weights_have_one_rate(tiny: Callable[[str], Path]) -> None:
    one = Encoder.from_pretrained(tiny("bert"), device="cpu")
    encoder = Encoder.from_routes({"query": one, "document": one})
    assert weights_named(encoder, "query", where="x") == weights_named(encoder, "document", where="x")
    rates = rates_of(encoder, {"query": 1.0, "document": 2.0}, {"LayerNorm": 3.0})
    assert set(rates.values()) == {2.0, 3.0}
    assert {rate for name, rate in rates.items() if "LayerNorm" in name} == {3.0}


def test_frozen_puts_back_what_was(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu")
    encoder.backbones()[""].model.embeddings.requires_grad_(False)
    before = trained(encoder)
    with frozen(encoder, ["parts.0.model.encoder.layer.0"]):
        assert trained(encoder) < before
    assert trained(encoder) == before
    with frozen(encoder, None):
        assert trained(encoder) == before
