"""What a person sees of training: a bar on a terminal, and a line per log entry anywhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class TrainingProgress(TrainerCallback):
    """Tells a console of steps, losses and evaluations, in place of transformers' own bar and prints.

    Use it as a context manager around `train`, so that the bar goes away when training fails.

    Args:
        console: where to tell it; None for silence.
        metric: name of the evaluator's primary metric, None without evaluator.
    """

    def __init__(self, console: Console | None, metric: str | None = None) -> None:
        self.console = console
        self.metric = metric
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar."""
        if self.console is None or not self.console.is_terminal or not state.is_world_process_zero:
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
        timing = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._bar = Progress(*columns, *timing, console=self.console, transient=True)
        self._task = self._bar.add_task("", total=state.max_steps, completed=state.global_step)
        self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """One line for a log entry: loss and learning rate, or the evaluator's metric."""
        if self.console is None or not logs or not state.is_world_process_zero:
            return
        width = len(str(state.max_steps))
        facts = []
        if "learning_rate" in logs:
            facts = [f"loss {float(logs['loss']):.4f}", f"learning rate {float(logs['learning_rate']):.2e}"]
        elif f"eval_{self.metric}" in logs:
            facts = [f"evaluation: {self.metric} {float(logs[f'eval_{self.metric}']):.4f}"]
        elif "eval_loss" in logs:
            facts = [f"evaluation: loss {float(logs['eval_loss']):.4f}"]
        if facts:
            step = f"step {state.global_step:>{width}}/{state.max_steps}"
            self.console.print("  ".join([step, *facts]), markup=False, soft_wrap=True)
