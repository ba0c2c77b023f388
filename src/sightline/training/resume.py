"""Going on from a checkpoint as if the run had never stopped: which one, and what of ours is in it.

Weights, optimizer, scheduler, scaler, random states and the trainer's state are transformers' files. Ours is
``sightline_state.json``: the memory plan (other micro-batches are other bits), the rows that were left out (the
order of the others follows from them), and the settings that decide what comes next.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sightline.errors import TrainingError
from sightline.files import write_json
from sightline.training.saving import Checkpoints, why_not_resumable

logger = logging.getLogger(__name__)

STATE = "sightline_state.json"


@dataclass
class RunState:
    """What a run has to remember beyond transformers' state.

    Attributes:
        engine: the memory plan, as the engine tells it.
        rows: how many training rows there are.
        left_out: numbers of the training rows that cannot be read, why, and in which dataset; None where they were
            not checked.
        evaluated_step: the last step after which an evaluation was finished; -1 for none.
        bad_batches: batches skipped for a loss or gradients that were not finite.
        settings: what the course of the run depends on, by name.
    """

    engine: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    left_out: list[tuple[int, str, str]] | None = None
    evaluated_step: int = -1
    bad_batches: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Puts it beside the checkpoint's other files."""
        write_json(folder / STATE, {"format": 1} | asdict(self))

    @staticmethod
    def read(folder: Path) -> RunState:
        """The state in a checkpoint; an empty one in a checkpoint that a plain transformers trainer wrote.

        Raises:
            TrainingError: the file is not what it should be.
        """
        if not (folder / STATE).exists():
            return RunState()
        try:
            facts = json.loads((folder / STATE).read_text(encoding="utf-8"))
            facts.pop("format")
            state = RunState(**facts)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise TrainingError(f"{folder / STATE} cannot be read: {error}") from error
        if state.left_out is not None:
            state.left_out = [
                (int(row), str(reason), str(*dataset)) for row, reason, *dataset in state.left_out
            ]
        return state

    def warn_of_changes(self, now: dict[str, Any], folder: Path) -> None:
        """Says which settings differ from those of the run that wrote the checkpoint."""
        changed = [
            f"{name} {self.settings[name]!r} -> {value!r}"
            for name, value in now.items()
            if name in self.settings and self.settings[name] != value
        ]
        if changed:
            logger.warning(
                "The run goes on from %s with other settings, so not as if it had never stopped: %s",
                folder, ", ".join(changed),
            )  # fmt: skip


def checkpoint_to_resume(checkpoints: Checkpoints, asked: str | Path | bool) -> Path:
    """The checkpoint to go on from: the one at a path, or for ``True`` the newest whole one.

    Raises:
        TrainingError: it is not whole, or there is none.
    """
    if not isinstance(asked, bool):
        path = Path(asked)
        wrong = why_not_resumable(path)
        if wrong is not None:
            newest = f"; resume_from_checkpoint=True takes the newest whole one in {checkpoints.folder}"
            raise TrainingError(f"cannot go on from {path}: {wrong}{newest if checkpoints.all() else ''}")
        return path
    found = checkpoints.newest()
    if found is None:
        raise TrainingError(
            f"there is no whole checkpoint in {checkpoints.folder} to go on from; leave resume_from_checkpoint out "
            "to train from the start"
        )
    return found
