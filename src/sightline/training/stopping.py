"""SIGTERM during training: the step is finished, a checkpoint saved, and training returns."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from sightline.training.distributed import ALONE, Ranks

logger = logging.getLogger(__name__)


class Interrupted(BaseException):
    """Ends an evaluation that SIGTERM met; nothing else ever sees it."""


class StopRequest:
    """Whether SIGTERM has asked the run to stop.

    Args:
        ranks: the processes that have to stop at the same step.

    Attributes:
        asked: this process got the signal.
        agreed: every rank knows, and none begins another step.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks
        self.asked = False
        self.agreed = False
        self._interruptible = False
        self._before: Any = None
        self._process = 0

    def listen(self) -> None:
        """Starts catching SIGTERM, if this is the main thread; the second one has its usual effect."""
        self.asked = self.agreed = False
        if threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            self._before = signal.signal(signal.SIGTERM, self._hear)

    def deaf(self) -> None:
        """Gives SIGTERM back to whoever had it."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def agree(self, here: bool = False) -> bool:
        """Whether any rank was asked to stop (or ``here`` is true on one); every rank has to call it."""
        self.agreed = self.agreed or self.ranks.agree(self.asked or here)
        return self.agreed

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """SIGTERM ends what runs inside at once, with `Interrupted`; several ranks finish it instead.

        Raises:
            Interrupted: the signal came.
        """
        alone = self.ranks.size == 1
        if alone and self.asked:
            raise Interrupted
        self._interruptible = alone
        try:
            yield
        finally:
            self._interruptible = False

    def _hear(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker, which has nothing to save
            signal.signal(number, signal.SIG_DFL)
        elif self.asked:
            self.deaf()
        if os.getpid() != self._process or self.asked:
            os.kill(os.getpid(), number)
            return
        self.asked = True
        logger.warning("SIGTERM: saving a checkpoint after this step, then stopping")
        if self._interruptible:
            raise Interrupted


class StopAfterStep(TrainerCallback):
    """Turns a `StopRequest` into the trainer's controls: save what was trained, skip all else, stop.

    Has to come after transformers' own callback, which decides what is due.
    """

    def __init__(self, request: StopRequest) -> None:
        self.request = request
        self.saved_step = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An evaluation that is due now is left to the run that goes on."""
        if self.request.asked and self.request.ranks.size == 1:
            control.should_evaluate = control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The end of the loop over batches, which `get_batch_samples` has emptied."""
        if not self.request.agree():
            return
        control.should_evaluate = control.should_log = False
        control.should_save = state.global_step > self.saved_step
        # Not before the checkpoint is written: what is in it would stop the run that goes on from it.
        control.should_training_stop = not control.should_save

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remembers what need not be saved again."""
        self.saved_step = state.global_step
        control.should_training_stop = control.should_training_stop or self.request.agreed

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Nothing is trained yet beyond the checkpoint that the run goes on from."""
        self.saved_step = state.global_step
        self.request.listen()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Signals are the caller's again."""
        self.request.deaf()
