"""The part of the Trainer that lets a run outlive its process: checkpoints, going on, stopping, bad batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers.trainer import SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from sightline.errors import StoppedError, TrainingError
from sightline.training.arguments import TrainingArguments
from sightline.training.bad_batches import BadBatches
from sightline.training.batches import BadRow
from sightline.training.distributed import Ranks
from sightline.training.engine import Engine
from sightline.training.feeding import Feed
from sightline.training.mixing import MixedRows
from sightline.training.ordering import Ordering
from sightline.training.resume import RunState, checkpoint_to_resume
from sightline.training.samples import Sample
from sightline.training.saving import Checkpoints, problem
from sightline.training.source import RowSource
from sightline.training.stopping import Interrupted, StopAfterStep, StopRequest
from sightline.training.tuning import TunedTrainer
from sightline.training.weights import only_with_state, with_whole_weights
from sightline.types import Batch

logger = logging.getLogger(__name__)


class LastingTrainer(TunedTrainer):
    """transformers' loop with checkpoints that are whole or not there, and runs that go on from them exactly.

    Half of `sightline.training.trainer.Trainer`, in a file of its own; not used by itself.
    """

    args: TrainingArguments
    _engine: Engine
    _source: RowSource
    _rows: MixedRows
    _ordering: Ordering

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ranks = Ranks.of_process(self.args.ddp_timeout_delta)
        self._checkpoints = Checkpoints(str(self.args.output_dir))
        self._stop = StopRequest(self._ranks)
        self._bad = BadBatches(stops=self.args.on_bad_loss == "stop")
        self._evaluated_step = -1
        self._resumed: tuple[Path, RunState] | None = None
        self._step_rows: list[int] = []
        self.add_callback(StopAfterStep(self._stop))  # the last to be called, so that nobody overrules it

    @property
    def stopped(self) -> bool:
        """SIGTERM ended `train` early; the newest checkpoint holds all that was done."""
        return self._stop.agreed

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Trains the encoder in place.

        SIGTERM ends it after the step that runs: a checkpoint is saved, then `StoppedError` is raised, so that what
        a script does with a finished model is not done with this one. The second SIGTERM has its usual effect.

        Args:
            resume_from_checkpoint: True goes on from the newest whole checkpoint in the output folder, a path
                from the checkpoint there.
            trial: of transformers' hyperparameter search.
            ignore_keys_for_eval: not used.

        Returns:
            transformers' `TrainOutput`.

        Raises:
            TrainingError: there is no whole checkpoint to go on from; a checkpoint cannot be saved; a loss or a
                gradient is not finite, with the rows of the batch.
            StoppedError: SIGTERM asked the run to stop; all that was done is saved.
            DataError: bad rows.
        """
        path, state = None, RunState()
        if resume_from_checkpoint:
            asked = resume_from_checkpoint
            path = self._ranks.from_main(
                lambda: checkpoint_to_resume(self._checkpoints, asked), "looking for a checkpoint"
            )
            state = RunState.read(path)
        elif self._checkpoints.all():
            logger.warning(
                "%s holds checkpoints of another run; this one starts anew (resume_from_checkpoint=True goes on)",
                self._checkpoints.folder,
            )
        self._resumed = None if path is None else (path, state)
        self._bad.count, self._evaluated_step = state.bad_batches, state.evaluated_step
        self._engine.restore(state.engine)
        if path is not None:
            self._engine.load(path)
        if state.left_out is not None and state.settings.get("rows") == self._row_counts():
            self._source.recall([BadRow(*one) for one in state.left_out])
        try:
            result = super().train(None if path is None else str(path), trial, ignore_keys_for_eval)
        finally:
            self._stop.deaf()
            loader = self.callback_handler.train_dataloader
            if loader is not None and isinstance(loader.dataset, Feed):
                loader.dataset.close()  # the trainer may live long; its worker processes need not
        if self.stopped:
            raise StoppedError(
                f"stopped by SIGTERM after step {self.state.global_step} of {self.state.max_steps}, which is saved in "
                f"{self._checkpoints.folder}; train(resume_from_checkpoint=True) goes on from there"
            )
        return result

    def _plan_memory(self) -> list[Sample]:
        """Measures and plans, on all ranks; a model that is to be sharded has to be. What was measured."""
        model: Any = self.model
        source = self._source
        samples, items = source.samples(), source.items_per_batch(self._train_batch_size)
        with with_whole_weights(model):
            self._engine.prepare(model, model.collate, samples, items, source.items_in_all())
        return samples

    # Saving

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Everything that the run needs to go on, written aside and then renamed."""
        with self._engine.aside():
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        step = self.state.global_step
        final = self._checkpoints.path(step)
        self.store_flos()
        self._engine.agree()  # held-out rows that memory did not last for may have made one rank's limits smaller
        try:
            with self._ranks.together("preparing a checkpoint"):
                folder = self._checkpoints.unfinished / final.name
                if self.args.should_save:
                    folder = self._checkpoints.begin(step)
            self.save_model(str(folder), _internal_call=True)  # on all ranks; the others write beside it now
            self._note_best_checkpoint(final)
            if not self.args.save_only_model or self._stop.agreed:
                self._save_optimizer_and_scheduler(str(folder))
                self._save_scaler(str(folder))
                self._save_rng_state(str(folder))
            with self._ranks.together("saving a checkpoint"):
                if self.args.should_save:
                    self._save_states(folder)
            with self._ranks.together("checking a checkpoint"):
                if self.args.should_save:
                    self._checkpoints.publish(step)
        except (OSError, RuntimeError, SafetensorError, TrainingError) as error:
            if self.args.should_save:
                self._checkpoints.abandon()
            reason = " ".join(str(error).split()) or type(error).__name__
            whole = [path for path in self._checkpoints.all() if problem(path) is None]
            there = f"; the newest whole one is {whole[-1].name}" if whole else ""
            raise TrainingError(
                f"the checkpoint of step {step} could not be saved in {self._checkpoints.folder}: {reason}{there}"
            ) from error
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            self._checkpoints.rotate(
                self.args.save_total_limit, keep=[final] if best is None else [final, Path(best)]
            )

    def _note_best_checkpoint(self, being_saved: Path) -> None:
        step = self.state.best_global_step
        if step and self.args.save_strategy != SaveStrategy.NO:
            best = self._checkpoints.path(step)
            if best == being_saved or best.exists():
                self.state.best_model_checkpoint = str(best)

    def _save_states(self, folder: Path) -> None:
        callback_states: dict[str, Any] = self.state.stateful_callbacks  # type: ignore[assignment]
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                known = callback_states.get(type(callback).__name__)
                if isinstance(known, list):
                    known.append(callback.state())
                else:
                    callback_states[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
        self._engine.save(folder)
        RunState(
            engine=self._engine.state(),
            rows=len(self._rows),
            left_out=[(bad.row, bad.reason, bad.dataset) for bad in self._source.left_out()]
            if self.args.check_data
            else None,
            evaluated_step=self._evaluated_step,
            bad_batches=self._bad.count,
            settings=self._settings(),
        ).write(folder)

    def _settings(self) -> dict[str, Any]:
        args = self.args
        return {
            "rows": self._row_counts(),
            "multi_dataset_batch_sampler": args.multi_dataset_batch_sampler,
            "batch_sampler": args.batch_sampler,
            "ordering": type(self._ordering).__name__,
            "stream_buffer": args.stream_buffer if self._rows.has_streams else None,
            "seed": args.seed,
            "data_seed": args.data_seed,
            "per_device_train_batch_size": args.per_device_train_batch_size,
            "gradient_accumulation_steps": args.gradient_accumulation_steps,
            "processes": self._ranks.size,
            "steps": self.state.max_steps,
            "learning_rate": args.learning_rate,
            "learning_rates": args.learning_rates,
            "learning_rate_mapping": args.learning_rate_mapping,
            "freeze": args.freeze,
            "bf16": args.bf16,
            "fp16": args.fp16,
            "engine": self._engine.state(),
        }

    def _finalize_training(self, *arguments: Any) -> Any:
        best = self.state.best_model_checkpoint
        if self.stopped:
            # The run goes on later: the newest checkpoint stays, and so do the weights.
            self.state.best_model_checkpoint = None
        try:
            return super()._finalize_training(*arguments)
        finally:
            self.state.best_model_checkpoint = best

    # Going on

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        found = super()._init_training_state(*arguments)
        if (
            self._resumed is not None
            and self.state.best_model_checkpoint is None
            and self.state.best_global_step
        ):
            beside = self._resumed[0].with_name(self._checkpoints.path(self.state.best_global_step).name)
            if beside.exists():
                self.state.best_model_checkpoint = str(beside)
        return found

    def _prepare_for_training(self, max_steps: int, *arguments: Any) -> Any:
        prepared = super()._prepare_for_training(max_steps, *arguments)
        if self.is_fsdp_enabled:
            self._plan_memory()
        if self._resumed is not None:
            path, state = self._resumed
            state.warn_of_changes(self._settings(), path)
            if self._evaluation_is_due() and self._evaluated_step != self.state.global_step:
                self._catch_up_on_evaluation(path)
        return prepared

    def _evaluation_is_due(self) -> bool:
        """Whether the step just done is followed by an evaluation."""
        args, state = self.args, self.state
        last = state.global_step >= state.max_steps
        if args.eval_strategy == IntervalStrategy.STEPS:
            return args.eval_delay <= state.global_step and (
                last or state.global_step % state.eval_steps == 0
            )
        if args.eval_strategy == IntervalStrategy.EPOCH:
            assert state.epoch is not None
            return args.eval_delay <= state.epoch and (last or state.epoch == int(state.epoch))
        return False

    def _catch_up_on_evaluation(self, checkpoint: Path) -> None:
        """The evaluation between the checkpoint's step and the next, which the process did not live to finish."""
        is_best = self._determine_best_metric(self._evaluate(None, None), None)
        if is_best and self.args.save_strategy == SaveStrategy.BEST:
            self._load_rng_state(str(checkpoint))
            self._save_checkpoint(self.model_wrapped, None)
        elif is_best:
            self._note_best_checkpoint(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        assert isinstance(self.model, nn.Module)
        with only_with_state(self.model, Path(checkpoint) / "optimizer.bin", self._ranks) as loads:
            if loads:
                super()._load_optimizer_and_scheduler(checkpoint)
                return
        assert self.lr_scheduler is not None
        assert self.optimizer is not None
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))
        for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate  # which else comes with the optimizer's values

    def _load_callback_state(self) -> None:
        super()._load_callback_state()
        # What the process that saved was about to do (to stop, at its end) is not what this one is to do.
        self.control = transformers.TrainerControl()

    # Stopping

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of the next optimizer step; none once the run is to stop, which ends the epoch's loop."""
        if self._stop.agreed or self.state.global_step >= self.state.max_steps:
            return [], None
        batches: list[Any] = []
        count = None
        try:
            batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        except Exception:
            # A signal to the whole group of processes has ended the workers too.
            if not self._stop.asked:
                raise
        if self._stop.agree():
            return [], None
        found = [delivery["batch"] for delivery in batches]
        self._step_rows = [row for batch in found if batch is not None for row in self._numbers(batch)]
        return batches, count

    def _evaluate(
        self, trial: Any, ignore_keys_for_eval: list[str] | None, skip_scheduler: bool = False
    ) -> dict[str, float]:
        try:
            with self._stop.interruptible():
                metrics = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        except Interrupted:
            return {}
        self._evaluated_step = self.state.global_step
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return bool(metrics) and super()._determine_best_metric(metrics, trial)

    # Bad batches

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        # The scaler of fp16 looks for such gradients itself: they are how it finds its scale.
        if self.accelerator.scaler is None and not bool(torch.isfinite(torch.as_tensor(norm))):
            self._meet_bad_batch({"the norm of the gradients": float(norm)}, self._step_rows)
            model.zero_grad()  # an optimizer leaves weights without gradient alone
        return norm

    def _row_counts(self) -> int | dict[str, int] | None:
        """How many training rows there are, by dataset where there are several; None for streams."""
        if self._rows.has_streams:
            return None
        counts = {name: len(rows) for name, rows in self._rows.by_name.items()}
        return counts.get("", 0) if list(counts) == [""] else counts

    def _numbers(self, batch: Batch) -> list[int]:
        """The numbers of a batch's rows among those of all training datasets."""
        return self._rows.numbers(batch.dataset, batch.rows)

    def _meet_bad_batch(self, values: dict[str, float], rows: list[int]) -> None:
        self._bad.meet(values, rows, self._rows, step=self.state.global_step + 1)
