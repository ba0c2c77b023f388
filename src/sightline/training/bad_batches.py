"""A batch whose loss or gradients are not finite: the run stops and names its rows, or goes on without it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sightline.errors import TrainingError
from sightline.training.workers import NumberedRows

logger = logging.getLogger(__name__)

_ROWS_SHOWN = 3
_NUMBERS_SHOWN = 64
_CELL_WIDTH = 60


class NotFiniteError(TrainingError):
    """A batch's loss is infinite or not a number.

    Attributes:
        parts: the loss's parts by name.
    """

    def __init__(self, parts: Mapping[str, float]) -> None:
        self.parts = dict(parts)
        super().__init__(f"the loss is not finite: {self.parts}")


def check_finite(parts: Mapping[str, Tensor]) -> None:
    """Waits for the loss to be computed, while nothing of it has reached the gradients yet.

    Raises:
        NotFiniteError: a part is not finite.
    """
    values = {name: float(part) for name, part in parts.items()}
    if not all(map(math.isfinite, values.values())):
        raise NotFiniteError(values)


class BadBatches:
    """Counts batches that were left out, or ends the run at the first.

    Args:
        stops: end the run.

    Attributes:
        count: how many were left out, those before a resumed run's checkpoint included.
    """

    def __init__(self, *, stops: bool) -> None:
        self.stops = stops
        self.count = 0

    def meet(
        self, values: Mapping[str, float], numbers: Sequence[int], rows: NumberedRows, *, step: int
    ) -> None:
        """One batch, or the batches of one optimizer step, with what is not finite about them.

        Args:
            values: name -> value of the loss's parts, or of the gradients' norm.
            numbers: the rows' numbers.
            rows: the training dataset.
            step: the optimizer step, from 1.

        Raises:
            TrainingError: the run is to stop.
        """
        bad = ", ".join(f"{name} is {value}" for name, value in values.items() if not math.isfinite(value))
        shown = ", ".join(rows.row_name(number).removeprefix("row ") for number in numbers[:_NUMBERS_SHOWN])
        more = f" and {len(numbers) - _NUMBERS_SHOWN} more" if len(numbers) > _NUMBERS_SHOWN else ""
        where = f"step {step}: {bad}, in the batch of rows {shown}{more}"
        if self.stops:
            lines = "\n".join(f"  {describe_row(rows, number)}" for number in numbers[:_ROWS_SHOWN])
            raise TrainingError(
                f"{where}\n{lines}\n"
                "Nothing of it reached the weights. A lower learning_rate, max_grad_norm, or bf16 instead of fp16 "
                "are the usual cures; on_bad_loss='skip' leaves such batches out."
            )
        self.count += 1
        logger.warning("Left out at %s (%d so far)", where, self.count)


def describe_row(rows: NumberedRows, number: int) -> str:
    """A row in one line: its number, and the beginning of each cell or the file it names."""
    _, row = rows[number]
    return f"{rows.row_name(number)}: " + ", ".join(f"{name} {_cell(value)}" for name, value in row.items())


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{name}: {_cell(one)}" for name, one in value.items() if one is not None) + "}"
        )
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    text = repr(value)
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 4] + "..." + text[-1]
