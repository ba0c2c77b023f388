"""One training step of either side on one prepared batch, as that side's own trainer runs it.

The clock covers zero_grad, forward, loss and backward: `Trainer.training_step` of Sightline, and of Sentence
Transformers (ST), each called as its training loop calls it. Tokenising, decoding and the optimizer's update
are left out on both sides; the batch is made before by the trainer's own collator.

Both sides get the same rows in one batch, the same Matryoshka dims and the same temperature.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SCALE = 20.0  # one over the temperature

Rows = Sequence[Mapping[str, Any]]


def no_dropout() -> dict[str, float]:
    """Settings of a BERT that switch its dropout off."""
    return {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def ours(
    folder: Path | str,
    rows: Rows,
    dims: Sequence[int],
    *,
    config: Mapping[str, Any] | None = None,
    bf16: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    processor: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    allowed_bytes: float | None = None,
    **arguments: Any,
) -> Step:
    """Sightline's step.

    Args:
        folder: checkpoint.
        rows: the batch; anchor, positive, negative.
        dims: of the Matryoshka loss.
        config: changes to the model's configuration.
        bf16: the trainer's setting of that name (weights stay as they are).
        device: where the model runs.
        dtype: the weights'.
        processor: changes to the processor's settings.
        model_kwargs: of ``AutoModel.from_pretrained``.
        allowed_bytes: what the process may take at its peak; None leaves it to the engine.
        arguments: of `sightline.TrainingArguments`.
    """
    import transformers

    import sightline as sl

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    encoder = sl.Encoder.from_pretrained(
        folder,
        device=device,
        dtype=dtype,
        model_kwargs=model_kwargs,
        config_kwargs=config,
        processor_kwargs=processor,
    )
    trainer = sl.Trainer(
        encoder,
        sl.Matryoshka(sl.InfoNCE(temperature=1 / SCALE), dims=dims),
        train_dataset=[dict(row) for row in rows],
        args=sl.TrainingArguments(
            output_dir=tempfile.mkdtemp(prefix="sightline-benchmarks-"),
            per_device_train_batch_size=len(rows),
            dataloader_num_workers=0,
            check_data=False,
            bf16=bf16,
            memory_budget=allowed_bytes,
            **arguments,
        ),
    )
    trainer.current_gradient_accumulation_steps = 1
    (delivery,) = list(trainer.get_train_dataloader())
    return Step(trainer, encoder, delivery)


def theirs(
    folder: Path | str,
    rows: Rows,
    dims: Sequence[int],
    *,
    cached: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None = None,
    bf16: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    images: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
) -> Step:
    """Sentence Transformers' step.

    Args:
        cached: settings of CachedMultipleNegativesRankingLoss (``mini_batch_size``,
            ``mini_batch_num_tokens``); None for MultipleNegativesRankingLoss.
        images: the processor takes images, for which ST needs torchvision; see `torchvision`.
        model_kwargs: of ``AutoModel.from_pretrained``.

    Others as in `ours`.
    """
    model = their_model(
        folder,
        config=config,
        device=device,
        dtype=dtype,
        images=images,
        model_kwargs=model_kwargs,
        processor=processor,
    )
    import datasets
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer import losses

    model.model_card_data.generate_widget_examples = False
    if cached is None:
        inner = losses.MultipleNegativesRankingLoss(model, scale=SCALE)
    else:
        inner = losses.CachedMultipleNegativesRankingLoss(model, scale=SCALE, **cached)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=Arguments(
            output_dir=tempfile.mkdtemp(prefix="sightline-benchmarks-"),
            per_device_train_batch_size=len(rows),
            bf16=bf16,
            use_cpu=device == "cpu",
            report_to="none",
        ),
        # Only its columns' names are read: the batch comes from the collator below.
        train_dataset=datasets.Dataset.from_dict({name: [""] for name in rows[0]}),
        loss=losses.MatryoshkaLoss(model, inner, matryoshka_dims=list(dims)),
    )
    trainer.current_gradient_accumulation_steps = 1
    # With bf16 accelerate wraps the model's forward, as it does when training starts.
    wrapped = trainer.accelerator.prepare_model(trainer.model)
    trainer.model_wrapped = wrapped
    return Step(trainer, wrapped, trainer.data_collator([dict(row) for row in rows]))


def their_model(
    folder: Path | str,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    images: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
) -> Any:
    """ST's model; arguments as in `theirs`."""
    if images:
        torchvision()
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = SentenceTransformer(
        str(folder),
        device=device,
        config_kwargs=dict(config or {}),
        model_kwargs={"dtype": dtype} | dict(model_kwargs or {}),
        processor_kwargs=dict(processor or {}),
    )
    if images:
        # torchvision's compiled operators do not fit this torch; the Pillow variant of the processor needs none.
        loaded = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **(processor or {}))
        model[0].processor.image_processor = loaded
    return model


class Step:
    """A trainer with its batch; calling it runs one step and returns its loss and its gradient's norm."""

    def __init__(self, trainer: Any, model: Any, batch: Any) -> None:
        self.trainer = trainer
        self.model = model
        self.batch = batch

    def __call__(self) -> dict[str, Any]:
        self.model.zero_grad(set_to_none=True)
        loss = self.trainer.training_step(self.model, dict(self.batch))
        return {"loss": lambda: float(loss), "gradient norm": self.gradient_norm}

    def gradients(self) -> dict[str, Any]:
        """Gradients by the name that the parameter has in the transformers model."""
        found = {}
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                found[name.split(".model.", 1)[1]] = parameter.grad.detach().clone()
        return found

    def gradient_norm(self) -> float:
        """Euclidean norm over all gradients."""
        gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
        return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))


def check(peer: Callable[[], Step], sides: Mapping[str, Callable[[], Step]]) -> None:
    """Runs one step of each in a process of its own, and prints how far they are apart.

    Args:
        peer: makes the step that others are held against; importable, or a partial of what is.
        sides: the others by name.

    Raises:
        SystemExit: losses differ by more than 1e-5, or gradients by more than 1e-4 of their norm.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        their_loss, theirs = pool.submit(_loss_and_gradients, peer).result()
        for name, side in sides.items():
            our_loss, ours = pool.submit(_loss_and_gradients, side).result()
            loss_apart = abs(our_loss - their_loss) / abs(their_loss)
            gradients_apart = _difference(theirs, ours)
            print(
                f"{name}: loss {our_loss:.7f}, ST {their_loss:.7f}, apart {loss_apart:.1e}; "
                f"gradients apart {gradients_apart:.1e} of their norm",
                flush=True,
            )
            if not (loss_apart <= 1e-5 and gradients_apart <= 1e-4):
                raise SystemExit("the two sides do not compute the same")


def _loss_and_gradients(setup: Callable[[], Step]) -> tuple[float, dict[str, Any]]:
    step = setup()
    loss = step()["loss"]()
    return loss, {name: gradient.numpy() for name, gradient in step.gradients().items()}


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Norm of the difference of two sets of gradients, relative to the norm of the first."""
    if missing := set(first) ^ set(second):
        raise ValueError(f"only one side has gradients for {sorted(missing)[:5]}")
    apart = sum(float(((first[name] - second[name]).astype("float64") ** 2).sum()) for name in first)
    return math.sqrt(apart / sum(float((one.astype("float64") ** 2).sum()) for one in first.values()))


def torchvision() -> None:
    """Makes torchvision importable in this process.

    ST cannot load a Qwen-VL processor without it, and Sightline does not depend on it. It is looked for in the
    environment, then in ``.cache/torchvision``, where the tests put it.
    """
    import importlib.util
    import sys

    import torch

    if importlib.util.find_spec("torchvision") is not None:
        return
    folder = Path(__file__).parents[1] / ".cache" / "torchvision"
    if not (folder / "torchvision").is_dir():
        raise FileNotFoundError(
            f"ST needs torchvision; run: pip install --no-deps --target {folder} torchvision==0.28.0"
        )
    sys.path.insert(0, str(folder))
    # Its compiled operators may not fit this torch; it looks these two up when it is imported.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor a, Tensor b, float c) -> Tensor")
    library.define("qnms(Tensor a, Tensor b, float c) -> Tensor")
    _LIBRARIES.append(library)


_LIBRARIES: list[Any] = []  # a library's operators live as long as it does
