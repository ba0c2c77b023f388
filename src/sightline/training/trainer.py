"""The Trainer: transformers' training loop around our step, batches, evaluation and checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.data_loader import prepare_data_loader
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer import TRAINING_ARGS_NAME

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.models.encoder import Encoder
from sightline.models.projection import save_projection, saved_projection
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.bad_batches import NotFiniteError
from sightline.training.batches import BadRow, Delivery
from sightline.training.engine import Engine
from sightline.training.evaluating import Evaluator, check_evaluation, check_evaluator_inputs, mean_loss
from sightline.training.extras import Extras
from sightline.training.fitting import check_model
from sightline.training.mixing import MixedRows, check_strategy, loss_by_dataset
from sightline.training.ordering import Ordering, Shuffled
from sightline.training.random_state import undisturbed
from sightline.training.rows import Rows, as_rows, evaluation_set, named_rows
from sightline.training.saving import problem
from sightline.training.source import RowSource
from sightline.training.streams import Stream, read_training
from sightline.training.telling import TellingTrainer
from sightline.training.weights import (
    Replicated,
    is_sharded,
    load_whole_state_dict,
    plain_weights,
    prepare_sharding,
    whole_state_dict,
    whole_weights,
    with_whole_weights,
    witness,
)
from sightline.types import Batch

logger = logging.getLogger(__name__)


class Trainer(TellingTrainer):
    """Trains an encoder or a reranker.

    Schedules, callbacks, trackers, accumulation and clipping are `transformers.Trainer`'s; how a batch is made
    and how it becomes gradients is ours, and so are checkpoints.

    Args:
        encoder: the `Encoder` or `Reranker`; it is trained in place.
        loss: what is minimised; or one per dataset, by name.
        train_dataset: list of dicts, dict of columns, or `datasets.Dataset`. First column the anchor, then
            its positive, then hard negatives; ``label`` and ``score`` columns by name. For a reranker also a query, a
            document and a label, or lists of documents and labels. Or several such by name, which
            take turns as ``args.multi_dataset_batch_sampler`` says; each batch is of one of them. A
            `datasets.IterableDataset`, or any iterable of dicts without length, is read as it comes and needs
            ``max_steps``.
        eval_dataset: rows the loss is also computed on, or several such by name.
        args: `TrainingArguments`; a plain `transformers.TrainingArguments` is refused.
        evaluator: called on every evaluation; its primary metric chooses the best model.
        callbacks: `transformers.TrainerCallback` objects.
        optimizers: optimizer and scheduler, where the arguments cannot express them.
        guide: a model that finds false negatives for losses that want one (`FalseNegatives`); it is not trained.
        tell: given the prompt of each column, the memory plan in one line, and what became of it; they stand in the log
            at any rate.
        ordering: which rows form which batch; by default `Shuffled`.

    Raises:
        ConfigError: arguments that contradict each other; a model, a loss and a guide that do not go together.
        DataError: a dataset that cannot be read, or (when training starts) its bad rows.
    """

    model: Any
    args: TrainingArguments

    def __init__(
        self,
        encoder: nn.Module,
        loss: Loss | Mapping[str, Loss],
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        args: TrainingArguments,
        evaluator: Evaluator | None = None,
        callbacks: Sequence[transformers.TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        guide: Encoder | None = None,
        tell: Callable[[str], None] | None = None,
        ordering: Ordering | None = None,
    ) -> None:
        if not isinstance(args, TrainingArguments):
            raise ConfigError(
                "args must be sightline.TrainingArguments, which has transformers' names and ours"
            )
        check_model(encoder)
        self.evaluator, self._ordering = evaluator, ordering or Shuffled()
        self._rows = MixedRows(read_training(train_dataset, args.streams))
        self._eval_rows = named_rows(eval_dataset, evaluation_set)
        training = self._rows.by_name
        self._earlier = encoder.story if isinstance(encoder, (Encoder, Reranker)) else None
        self.loss = loss_by_dataset(loss, list(training), list(self._eval_rows))
        streams = self._rows.has_streams
        if len(training) > 1:
            check_strategy(args.multi_dataset_batch_sampler, list(training), streams=streams)
        if streams and args.max_steps < 1:
            raise ConfigError("a stream has no end at which training could stop; set max_steps")
        check_evaluation(encoder, args, self._eval_rows, evaluator)
        if evaluator is not None and not args.metric_was_chosen:
            args.metric_for_best_model = evaluator.primary_metric
            args.greater_is_better = evaluator.greater_is_better
        super().__init__(
            model=encoder,
            args=args,
            train_dataset=self._rows if training else None,
            eval_dataset=self._eval_rows if self._eval_rows or evaluator is not None else None,
            data_collator=_no_collator,
            callbacks=list(callbacks or []),
            optimizers=optimizers,
        )
        self._source = RowSource(
            self.model,
            self.loss,
            args,
            training,
            evaluation=self._eval_rows,
            guide=guide,
            shows_progress=self.is_local_process_zero(),
            ranks=self._ranks,
        )
        self._extras = Extras(self.model, self.loss, self._source, args.order_seed)
        self._engine = Engine(
            self.loss,
            args,
            self._source.limits,
            rebuild=self._source.rebuilt,
            tell=tell if self.is_world_process_zero() else None,
            ranks=self._ranks,
        )
        if self.is_deepspeed_enabled:
            raise ConfigError("DeepSpeed is not supported; use DDP or FSDP through torchrun or accelerate")
        if (args.fsdp or self.is_fsdp_enabled) and not self.accelerator.is_fsdp2:
            raise ConfigError(
                "fsdp shards the model over the accelerators of several processes, with FSDP version 2; start them "
                "with torchrun on a machine that has some, or leave fsdp out"
            )

    # Data

    @property
    def skipped(self) -> tuple[BadRow, ...]:
        """Training rows left out because they cannot be read."""
        return self._source.skipped

    def get_train_dataloader(self) -> DataLoader:
        """Seeded batches of the usable rows."""
        if not self._rows.by_name:
            raise ConfigError("training needs a train_dataset")
        source = self._source
        # A broken held-out page should not show after the first hours either.
        held_out_rows = [] if self.args.eval_strategy == "no" else list(self._eval_rows.values())
        for rows in (*self._rows.by_name.values(), *held_out_rows):
            source.check_needs(rows)
            self._engine.say(source.prompts_told(rows))
        for rows in (*self._rows.by_name.values(), *held_out_rows):
            if not isinstance(rows, Stream):
                source.usable(rows)
        check_evaluator_inputs(
            self.model, self.args, self.evaluator, show_progress=source.shows_progress, ranks=self._ranks
        )
        order = self._ordering.training(source, self._train_batch_size * self._ranks.size)
        # Of a sharded model the weights come to the device after this, and are measured then.
        samples = [] if self.is_fsdp_enabled else self._plan_memory()
        self._engine.compile(self.model, self.model.collate, samples)
        # accelerate would shard the batches once more, and repeat rows to make the last one even.
        return prepare_data_loader(source.training_loader(order), num_processes=1, process_index=0)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Batches of the usable held-out rows; several ranks share the batches."""
        given = next(iter(self._eval_rows.values())) if eval_dataset is None else eval_dataset
        rows = as_rows(given, name=evaluation_set(""))
        return self._source.loader(rows, self._ordering.evaluation(self._source, rows))

    def num_examples(self, dataloader: DataLoader) -> int:
        """Rows trained on; those left out don't count."""
        return len(dataloader.dataset) - len(self.skipped)  # type: ignore[arg-type]

    # The step

    def training_step(self, model: nn.Module, inputs: Delivery, num_items_in_batch: Any = None) -> Tensor:  # type: ignore[override]
        """Adds one batch's gradients; returns its share of the step's loss."""
        model.train()
        share = 1.0 / self.current_gradient_accumulation_steps
        if inputs["bad"]:
            self._source.meet(inputs["bad"], self._rows.by_name[inputs["dataset"]])
        batch = inputs["batch"]
        if batch is None:
            batch = Batch.empty()  # the other ranks may have rows, and wait for this one
        batch = self._extras.of_training(batch, self.model, self.state.global_step)
        whole_weights(self.model)
        scale: float | Tensor = share
        if self.accelerator.scaler is not None:
            scale = self.accelerator.scaler.scale(torch.tensor(share, device=self.args.device))
        try:
            parts = self._engine.step(
                self.model, batch, share=share, scale=scale, sync=self.accelerator.sync_gradients
            )
        except NotFiniteError as error:
            self._meet_bad_batch(error.parts, self._numbers(batch))
            return torch.full((), torch.nan, device=self.args.device)  # transformers logs the mean instead
        if not parts:  # no rank has rows
            return torch.zeros((), device=self.args.device)
        return torch.stack(list(parts.values())).sum() * share

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        """Gives every rank the same weights; the step itself adds up their gradients, without DDP."""
        if not training or self._ranks.size == 1 or isinstance(model, Replicated):
            return super()._wrap_model(model, training, dataloader)
        torch.manual_seed(self.args.seed + self._ranks.rank)  # else every rank drew the same dropout masks
        if self.is_fsdp_enabled:
            prepare_sharding(model, self.accelerator.state.fsdp_plugin, self._ranks)
            return super()._wrap_model(model, training, dataloader)
        return Replicated(self.accelerator.prepare_model(model, evaluation_mode=True), self._ranks)

    def floating_point_ops(self, inputs: Delivery) -> int:  # type: ignore[override]
        """Six per token and weight, forward and backward (Kaplan et al. 2020, arXiv:2001.08361)."""
        batch = inputs["batch"]
        tokens = 0 if batch is None else sum(one.cost.total for one in batch.micro_batches)
        return 6 * tokens * sum(parameter.numel() for parameter in self.model.parameters())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Training log lines also get what `Engine.logs` counts, and the waiting for data: see docs/tracking.md."""
        if "loss" in logs and "learning_rate" in logs:
            logs |= self._engine.logs() | self._source.logs()
            if self._bad.count:
                logs["bad_batches"] = self._bad.count
        super().log(logs, start_time)

    # Evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss on the held-out rows and the evaluator's metrics, every name with the prefix in front.

        Training goes on as if there had been no evaluation: random states and the model's mode are put back.
        """
        training = self.model.training
        try:
            with self._engine.aside(), undisturbed(self.args.device), with_whole_weights(self.model):
                return self._evaluate_all(eval_dataset, metric_key_prefix)
        finally:
            self.model.train(training)

    def _evaluate_all(self, eval_dataset: Any, metric_key_prefix: str) -> dict[str, float]:
        started = time.time()
        sets = self._eval_rows if eval_dataset is None else named_rows(eval_dataset, evaluation_set)
        metrics: dict[str, float] = {}
        self.model.eval()
        for name, rows in sets.items():
            prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
            metrics |= {f"{prefix}_{part}": value for part, value in self._evaluation_loss(rows).items()}
        if self.evaluator is not None and eval_dataset is None:
            folder = self.output_dir / "eval"
            if self.args.should_save:
                folder.mkdir(parents=True, exist_ok=True)
            several: dict[str, Any] = {"ranks": self._ranks} if self._ranks.size > 1 else {}
            with self.autocast_smart_context_manager():
                found = self.evaluator(
                    self.model,
                    output_dir=str(folder) if self.args.should_save else None,
                    epoch=self.state.epoch,
                    steps=self.state.global_step,
                    **several,
                )
            metrics |= {f"{metric_key_prefix}_{name}": float(value) for name, value in found.items()}
        metrics[f"{metric_key_prefix}_runtime"] = round(time.time() - started, 4)
        self.log(metrics)
        self._leave_story()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _evaluation_loss(self, rows: Rows) -> dict[str, float]:
        return mean_loss(
            self.get_eval_dataloader(rows),
            rows,
            lambda batch: self._engine.held_out(
                self.model, self._extras.of_evaluation(batch, rows), partial(self._source.rebuilt, rows=rows)
            ),
            meet=self._source.meet,
            ranks=self._ranks,
        )

    def autocast_smart_context_manager(
        self, cache_enabled: bool | None = True
    ) -> AbstractContextManager[Any]:
        """What the evaluator's encoding runs under: the type that training computes in."""
        if self.args.autocast is None:
            return nullcontext()
        return torch.autocast(self.args.device.type, self.args.autocast, cache_enabled=cache_enabled)

    # Checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the model on the main process, and reads it again to compare; with several, all of them call it.

        Args:
            output_dir: where it goes; by default the output folder.

        Raises:
            CheckpointError: what was written is not this model (see `sightline.models.verify`).
        """
        # A checkpoint of the run is checked by the sums of its files, and is saved often.
        self._write_model(Path(output_dir) if output_dir else self.output_dir, verify=not _internal_call)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _write_model(self, folder: Path, *, verify: bool) -> None:
        compared = witness(self.model, self._ranks) if verify else False
        state = whole_state_dict(self.model) if is_sharded(self.model) else {}
        with self._ranks.together("saving the model"):
            if self.args.should_save:
                with plain_weights(self.model, state):
                    self.model.save_pretrained(folder, card=self.card_for(folder), verify=compared)
                    save_projection(self.model, folder)
                torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._load_weights(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        assert best is not None
        if (wrong := problem(Path(best))) is not None:
            logger.error(
                "The best model, %s, is damaged (%s); the weights of the last step stay", best, wrong
            )
            return
        logger.info("Loading the best model, %s (score %s)", best, self.state.best_metric)
        self._load_weights(best)

    def _load_weights(self, folder: str) -> None:
        """Puts a checkpoint's weights into the encoder in place, so that whoever holds it sees them."""
        # The widest type of all weights: what is read in it and copied into a narrower one loses no bit.
        widest = reduce(torch.promote_types, {weight.dtype for weight in self.model.parameters()})
        saved = type(self.model).from_pretrained(folder, device="cpu", dtype=widest)
        load_whole_state_dict(self.model, saved.state_dict() | saved_projection(self.model, Path(folder)))


def _no_collator(_: Any) -> Any:
    raise AssertionError("batches are made by BatchBuilder")
