"""The Trainer on a tiny encoder: schedules, evaluation, checkpoints, resuming, bad rows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from sightline.errors import ConfigError, DataError
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.run_arguments import maker

LOSS = Matryoshka(InfoNCE(), (16, 8))


@pytest.fixture
def make_arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return maker(
        tmp_path, num_train_epochs=2, per_device_train_batch_size=8, learning_rate=5e-3, token_budget=60
    )


class ScriptedEvaluator:
    """Gives the scores it is told to, and remembers when it was asked and what the model was."""

    primary_metric = "made-up_ndcg@10"
    greater_is_better = True

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores
        self.calls: list[tuple[int | None, torch.Tensor]] = []

    def __call__(
        self, encoder: Any, *, output_dir: Any = None, epoch: Any = None, steps: Any = None
    ) -> dict[str, float]:
        assert not encoder.training
        self.calls.append((steps, encoder.out[3].weight.detach().clone()))
        return {self.primary_metric: self.scores[len(self.calls) - 1], "made-up_dim8_ndcg@10": 0.25}


def history(trainer: Trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_the_loss_falls_and_every_part_is_logged(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    encoder = make_encoder()
    trainer = Trainer(encoder, LOSS, train_dataset=text_rows, args=make_arguments(num_train_epochs=6))
    result = trainer.train()
    assert result.global_step == 18
    losses = history(trainer, "loss")
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    for entry in trainer.state.log_history[:-1]:
        assert entry["loss"] == pytest.approx(entry["infonce_dim16"] + entry["infonce_dim8"], rel=1e-4)
        # 3 columns of 8 rows, all distinct.
        assert entry["items"] == 24
        assert 0 <= entry["padding"] < 0.5
        assert 0 <= entry["waiting"] <= 1
        assert entry["tokens"] > 24
        assert entry["passes"] >= 2
        assert entry["embedded_twice"] == 0


def test_under_three_percent_of_mixed_lengths_is_padding(make_encoder: Callable, tmp_path: Path) -> None:
    """64 triplets of 5 to 400 words a step, by the default plan, of a model that does not run without padding."""
    random = Random(7)
    rows = [
        {name: f"{number} " + "pump " * random.randint(4, 399) for name in ("anchor", "positive", "negative")}
        for number in range(128)
    ]
    encoder = make_encoder()
    assert not encoder.packed_groups
    args = maker(tmp_path, per_device_train_batch_size=64, num_train_epochs=1)()
    trainer = Trainer(encoder, InfoNCE(), train_dataset=rows, args=args)
    trainer.train()
    assert trainer.args.token_budget is None
    assert len(history(trainer, "padding")) == 2
    assert max(history(trainer, "padding")) < 0.03
    assert min(history(trainer, "padding")) > 0


@pytest.mark.parametrize("mode", ["direct", "cached", "auto"])
def test_step_modes_end_with_the_same_weights(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, mode: str
) -> None:
    results = []
    for step_mode in ("direct", mode):
        encoder = make_encoder()
        Trainer(encoder, LOSS, train_dataset=text_rows, args=make_arguments(step_mode=step_mode)).train()
        results.append(encoder.state_dict())
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


def test_accumulation_averages_the_batches(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    """20 rows in batches of 8: two steps of 8 + 8 and 4, and the logged loss is the mean over each step."""
    encoder = make_encoder(dropout=0.0)
    arguments = {"num_train_epochs": 1, "learning_rate": 0.0, "max_grad_norm": 0.0}
    single = Trainer(encoder, LOSS, train_dataset=text_rows[:20], args=make_arguments(**arguments))
    single.train()
    one = history(single, "loss")
    both = Trainer(
        encoder,
        LOSS,
        train_dataset=text_rows[:20],
        args=make_arguments(gradient_accumulation_steps=2, **arguments),
    )
    seen: list[float] = []

    class Look(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            seen.append(float(encoder.out[3].weight.grad.norm()))

    both.add_callback(Look())
    both.train()
    logged = history(both, "loss")
    assert logged == pytest.approx([(one[0] + one[1]) / 2, one[2]], rel=1e-4)
    assert history(both, "items") == [48, 12]
    assert history(both, "infonce_dim8")[0] == pytest.approx(
        sum(history(single, "infonce_dim8")[:2]) / 2, rel=1e-4
    )
    assert len(seen) == 2


def test_fractional_evaluation_and_the_best_model(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, tmp_path: Path
) -> None:
    encoder, evaluator = make_encoder(), ScriptedEvaluator([0.2, 0.9, 0.5])
    trainer = Trainer(
        encoder, LOSS, train_dataset=text_rows, eval_dataset=text_rows[:8], evaluator=evaluator,
        args=make_arguments(
            eval_strategy="steps", eval_steps=0.3, save_strategy="steps", save_steps=0.3, load_best_model_at_end=True,
        ),
    )  # fmt: skip
    trainer.train()
    # 6 steps; 0.3 of them is every second.
    assert [steps for steps, _ in evaluator.calls] == [2, 4, 6]
    assert trainer.state.best_metric == 0.9
    assert trainer.state.best_model_checkpoint == str(tmp_path / "run" / "checkpoint-4")
    assert torch.equal(encoder.out[3].weight, evaluator.calls[1][1])
    assert history(trainer, "eval_made-up_ndcg@10") == [0.2, 0.9, 0.5]
    loss, parts = (
        history(trainer, "eval_loss"),
        [history(trainer, f"eval_infonce_dim{dim}") for dim in (16, 8)],
    )
    assert loss == pytest.approx([a + b for a, b in zip(*parts, strict=True)])
    card = (tmp_path / "run" / "checkpoint-4" / "README.md").read_text()
    assert "| full | 0.9000 |" in card
    assert "| 8 | 0.2500 |" in card
    assert "Matryoshka(loss=InfoNCE(temperature=0.05" in card
    assert "- sentence-transformers\n" in card
    assert "base_model: nobody/tiny" in card
    loaded = type(encoder).from_pretrained(str(tmp_path / "run" / "checkpoint-4"))
    torch.testing.assert_close(loaded.state_dict(), encoder.state_dict())


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_ends_where_the_whole_run_ends(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, tmp_path: Path, workers: int
) -> None:
    options = {
        "num_train_epochs": 3, "save_strategy": "steps", "save_steps": 4, "dataloader_num_workers": workers,
        "warmup_ratio": 0.2,
    }  # fmt: skip
    whole = make_encoder()
    Trainer(whole, LOSS, train_dataset=text_rows, args=make_arguments("whole", **options)).train()
    stopped = make_encoder(5)
    resumed = Trainer(stopped, LOSS, train_dataset=text_rows, args=make_arguments("resumed", **options))
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert resumed.state.global_step == 9
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, stopped.state_dict()[name]), name


def test_a_corrupt_row_stops_the_run_before_the_first_step(
    make_encoder: Callable, make_arguments: Callable, tmp_path: Path
) -> None:
    rows = [{"q": f"question {n}", "page": str(tmp_path / f"{n}.png")} for n in range(1000)]
    for number in range(1000):
        Image.new("RGB", (6, 6), (number % 256, number // 256, 9)).save(tmp_path / f"{number}.png")
    corrupt = tmp_path / "617.png"
    corrupt.write_bytes(corrupt.read_bytes()[:-25])
    options = {"per_device_train_batch_size": 100, "num_train_epochs": 1, "dataloader_num_workers": 2}
    encoder = make_encoder()
    before = encoder.out[3].weight.clone()
    with pytest.raises(
        DataError, match=r"1 of 1000 rows .*cannot be used:\n  row 617, column 'page'"
    ) as caught:
        Trainer(encoder, InfoNCE(), train_dataset=rows, args=make_arguments(**options)).train()
    assert str(corrupt) in str(caught.value)
    assert torch.equal(encoder.out[3].weight, before)

    trainer = Trainer(
        encoder, InfoNCE(), train_dataset=rows, args=make_arguments(on_bad_row="skip", **options)
    )
    trainer.train()
    assert [bad.row for bad in trainer.skipped] == [617]
    assert sum(history(trainer, "items")) == 2 * 999
    assert "999 rows (1 left out" in trainer.card()


def test_skipping_says_how_many(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*text_rows, {"anchor": 3.5, "positive": "x", "negative": "y"}]
    with caplog.at_level(logging.WARNING, "sightline"):
        Trainer(make_encoder(), LOSS, train_dataset=rows, args=make_arguments(on_bad_row="skip")).train()
    assert "Left out 1 of the 25 rows of the training dataset" in caplog.text
    with pytest.raises(DataError, match="1 of 1 rows"):
        Trainer(make_encoder(), LOSS, train_dataset=rows[-1:], args=make_arguments(on_bad_row="skip")).train()


def test_bad_held_out_rows_show_before_the_first_step(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    held_out = [*text_rows[:7], {"anchor": 3.5, "positive": "x", "negative": "y"}]
    options = {"eval_strategy": "epoch", "num_train_epochs": 1}
    trainer = Trainer(
        make_encoder(), LOSS, train_dataset=text_rows, eval_dataset=held_out, args=make_arguments(**options)
    )
    with pytest.raises(DataError, match="1 of 8 rows of the evaluation dataset cannot be used"):
        trainer.train()
    assert trainer.state.global_step == 0
    args = make_arguments(on_bad_row="skip", **options)
    trainer = Trainer(make_encoder(), LOSS, train_dataset=text_rows, eval_dataset=held_out, args=args)
    trainer.train()
    assert trainer.skipped == ()
    assert len(history(trainer, "eval_loss")) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_turns_bad_during_training(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, workers: int
) -> None:
    rows = [*text_rows[:11], {"anchor": 3.5, "positive": "x", "negative": "y"}]
    options = {"check_data": False, "dataloader_num_workers": workers, "per_device_train_batch_size": 1}
    with pytest.raises(DataError, match="row 11, column 'anchor'"):
        Trainer(make_encoder(), LOSS, train_dataset=rows, args=make_arguments(**options)).train()
    trainer = Trainer(
        make_encoder(), LOSS, train_dataset=rows, args=make_arguments(on_bad_row="skip", **options)
    )
    assert trainer.train().global_step == 24
    assert [bad.row for bad in trainer.skipped] == [11]


def test_bf16_on_the_cpu(make_encoder: Callable, make_arguments: Callable, text_rows: list) -> None:
    """Every run computes as it was told, also the second on one encoder, and leaves the encoder as it was."""
    encoder = make_encoder()
    seen: set[tuple[bool, torch.dtype]] = set()
    encoder.out[3].register_forward_hook(lambda module, _, output: seen.add((module.training, output.dtype)))
    for bf16 in (False, True, False):
        seen.clear()
        args = make_arguments(bf16=bf16, num_train_epochs=2, learning_rate=1e-3)
        trainer = Trainer(encoder, LOSS, train_dataset=text_rows, eval_dataset=text_rows, args=args)
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        assert trainer.evaluate()["eval_loss"] < before
        assert seen == {(training, torch.bfloat16 if bf16 else torch.float32) for training in (True, False)}
        seen.clear()
        assert encoder.encode(["a text"]).dtype == torch.float32
        assert encoder.words.weight.dtype == torch.float32


def test_several_evaluation_sets_by_name(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    import datasets

    sets = {name: datasets.Dataset.from_list(text_rows[:8]) for name in ("here", "there")}
    metrics = Trainer(make_encoder(), LOSS, eval_dataset=sets, args=make_arguments()).evaluate()
    assert metrics["eval_here_loss"] == metrics["eval_there_loss"]


def test_warm_up_and_linear_decay_without_warnings(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        warnings.simplefilter("error", FutureWarning)
        assert make_arguments(gradient_checkpointing=True).activation_checkpointing
        args = make_arguments(warmup_ratio=0.5, learning_rate=1.0)
        trainer = Trainer(make_encoder(), LOSS, train_dataset=text_rows, args=args)
        trainer.train()
    assert history(trainer, "learning_rate") == pytest.approx([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_mode": "fast"}, "step_mode must be one of 'auto', 'direct', 'cached'"),
        ({"on_bad_row": "raise"}, "on_bad_row must be one of 'stop', 'skip', not 'raise'"),
        ({"token_budget": 0}, "token_budget must be at least 1"),
        ({"micro_batch": 0}, "micro_batch must be 'auto' or at least 1, not 0"),
        ({"micro_batch": "large"}, "micro_batch must be 'auto' or at least 1, not 'large'"),
        ({"memory_budget": "8 bananas"}, "memory_budget must be a number of bytes or a text like '8GB'"),
        ({"warmup_ratio": 1.5}, "warmup_ratio is a share"),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, "not both"),
    ],
)
def test_wrong_arguments_are_named(make_arguments: Callable, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_arguments(**options)


def test_what_is_missing_is_named(make_encoder: Callable, make_arguments: Callable, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither an evaluator nor an eval_dataset"):
        Trainer(make_encoder(), LOSS, args=make_arguments(eval_strategy="epoch"))
    with pytest.raises(ConfigError, match="needs a train_dataset"):
        Trainer(make_encoder(), LOSS, args=make_arguments()).train()
    with pytest.raises(ConfigError, match=r"sightline\.TrainingArguments"):
        Trainer(make_encoder(), LOSS, args=transformers.TrainingArguments(output_dir=str(tmp_path)))  # type: ignore[arg-type]


def test_prompts_of_the_model_apply_in_training(make_encoder: Callable, make_arguments: Callable) -> None:
    encoder = make_encoder()
    encoder.prompts = {"query": "ask:"}
    rows = [{"q": "a", "d": "b"}, {"q": "c", "d": "d"}]
    with_prompt = Trainer(encoder, InfoNCE(), eval_dataset=rows, args=make_arguments()).evaluate()
    by_hand = Trainer(
        make_encoder(), InfoNCE(), eval_dataset=rows, args=make_arguments(prompts={"q": "ask:"})
    ).evaluate()
    without = Trainer(encoder, InfoNCE(), eval_dataset=rows, args=make_arguments(prompts="")).evaluate()
    assert with_prompt["eval_loss"] == by_hand["eval_loss"] != without["eval_loss"]


def test_a_batch_of_nothing_is_refused_with_the_arguments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="per_device_train_batch_size must be at least 1, not 0"):
        TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=0)
