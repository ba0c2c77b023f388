"""A look at every row before the first step: one corrupt image must not end a run after hours.

Each row is read and preprocessed exactly as in training, in worker processes and without the model, so that a
dataset that passes is a dataset that trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import DataLoader

from sightline.errors import DataError, SightlineError
from sightline.training.batches import BadRow, BatchBuilder, ItemIdentity
from sightline.training.rows import Rows
from sightline.types import Cost

LISTED = 20
ROWS_PER_TASK = 32


@dataclass(frozen=True)
class CheckReport:
    """What the check found.

    Attributes:
        rows: how many rows there are.
        bad: the unusable ones, in order.
        dearest: cost of the most expensive item.
    """

    rows: int
    bad: tuple[BadRow, ...]
    dearest: Cost

    @property
    def good(self) -> list[int]:
        """Numbers of the usable rows."""
        bad = {row.row for row in self.bad}
        return [number for number in range(self.rows) if number not in bad]


@dataclass
class RowChecker:
    """The collate function of the check. Keeps, per worker process, which items it has seen."""

    builder: BatchBuilder
    seen: dict[ItemIdentity, int] = field(default_factory=dict)

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[int, list[BadRow], Cost]:
        """Rows looked at, the bad ones among them, the dearest item."""
        bad: list[BadRow] = []
        dearest = Cost(0)
        for number, row in rows:
            try:
                _, new = self.builder.read(number, row, self.seen)
            except SightlineError as error:
                bad.append(BadRow(number, str(error)))
                continue
            for identity, features in new.items():
                self.seen[identity] = 1
                dearest = max(dearest, features.cost, key=lambda cost: cost.total)
        return len(rows), bad, dearest


def check_rows(
    rows: Rows, builder: BatchBuilder, *, num_workers: int = 0, show_progress: bool = True
) -> CheckReport:
    """Reads and preprocesses every row once.

    Args:
        rows: the dataset.
        builder: how training will read it.
        num_workers: processes to spread it over; 0 stays in this one.
        show_progress: a bar, once the check has taken two seconds.
    """
    from tqdm.auto import tqdm

    from sightline.training.feeding import init_worker

    loader = DataLoader(
        rows,
        batch_size=ROWS_PER_TASK,
        collate_fn=RowChecker(builder),
        num_workers=min(num_workers, -(-len(rows) // ROWS_PER_TASK)),
        worker_init_fn=init_worker,
    )
    bad: list[BadRow] = []
    dearest = Cost(0)
    with tqdm(total=len(rows), desc="Checking rows", unit="row", delay=2, disable=not show_progress) as bar:
        for count, some, cost in loader:
            bad.extend(some)
            dearest = max(dearest, cost, key=lambda cost: cost.total)
            bar.update(count)
    return CheckReport(len(rows), tuple(sorted(bad, key=lambda row: row.row)), dearest)


def bad_rows_error(bad: Sequence[BadRow], rows: int, *, name: str = "the training dataset") -> DataError:
    """The error that lists them, the first twenty by reason."""
    lines = [f"{len(bad)} of {rows} rows of {name} cannot be used:"]
    lines += [f"  {row.reason}" for row in bad[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  ... and {len(bad) - LISTED} more")
    lines.append('Mend or remove them, or set on_bad_row="skip" to train without them.')
    return DataError("\n".join(lines))
