"""A look at every row before the first step: one corrupt image must not end a run after hours.

Each row is read as in training and each image, recording or video in it is preprocessed as in training, in
worker processes and without the model. Text cannot be broken, so it is only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import DataLoader, Subset

from sightline.errors import DataError, SightlineError
from sightline.inputs.refusals import refuse_media_as_text
from sightline.training.alike import Pattern
from sightline.training.batches import BadRow, BatchBuilder, ItemIdentity
from sightline.training.distributed import ALONE, Ranks
from sightline.training.feeding import init_worker
from sightline.training.rows import Rows
from sightline.training.samples import Sizes, merge_sizes, note_size

LISTED = 20
ROWS_PER_TASK = 32


@dataclass(frozen=True)
class CheckReport:
    """What the check found.

    Attributes:
        rows: how many rows there are.
        bad: the unusable ones, in order.
        sizes: where the largest items of each kind are.
        filled: columns in which some row has an item.
    """

    rows: int
    bad: tuple[BadRow, ...]
    sizes: Sizes = field(default_factory=dict)
    filled: frozenset[str] = frozenset()

    @property
    def good(self) -> list[int]:
        """Numbers of the usable rows."""
        bad = {row.row for row in self.bad}
        return [number for number in range(self.rows) if number not in bad]


@dataclass
class Checked:
    """What a look at some rows has found.

    Attributes:
        rows: how many there were.
        bad, sizes, filled: as of `CheckReport`.
    """

    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    sizes: Sizes = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)

    def add(self, more: Checked) -> None:
        """Takes over what was found in further rows."""
        self.rows += more.rows
        self.bad += more.bad
        merge_sizes(self.sizes, more.sizes)
        self.filled |= more.filled


@dataclass
class RowChecker:
    """The collate function of the check. Keeps, per worker process, which media it has seen.

    Attributes:
        builder: how rows are read.
        pattern: what they have in common.
        seen: media that could be opened.
    """

    builder: BatchBuilder
    pattern: Pattern
    seen: set[ItemIdentity] = field(default_factory=set)

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Checked:
        """What is found in some rows.

        Raises:
            DataError: something other than a bad row went wrong; names the row.
        """
        found = Checked(len(rows))
        for number, row in rows:
            try:
                self._check(number, row, found)
            except SightlineError as error:
                found.bad.append(BadRow(number, str(error), self.builder.dataset))
            except Exception as error:
                raise DataError(
                    f"row {number}: {type(error).__name__} while looking at it: {error}"
                ) from error
        return found

    def _check(self, number: int, row: Mapping[str, Any], found: Checked) -> None:
        builder, sizes = self.builder, found.sizes
        self.pattern.check(number, row)
        for column in builder.columns.names:
            refuse_media_as_text(row.get(column), f"row {number}, column {column!r}", builder.modalities)
        builder.row_reader.labels(number, row)
        for column, item, role, prompt in builder.row_reader.read(number, row):
            if item is None:
                continue
            found.filled.add(column)
            if item.modalities == {"text"}:
                note_size(sizes, column, item, number)
                continue
            identity = (item.key, role, prompt)
            if identity not in self.seen:
                features = builder.preprocess(item, role=role, prompt=prompt)
                note_size(sizes, column, item, number, features)
                self.seen.add(identity)


def check_rows(
    rows: Rows,
    builder: BatchBuilder,
    *,
    num_workers: int = 0,
    show_progress: bool = True,
    ranks: Ranks = ALONE,
) -> CheckReport:
    """Reads every row, and opens every medium, once.

    Args:
        rows: the dataset.
        builder: how training will read it.
        num_workers: processes to spread it over; 0 stays in this one.
        show_progress: a bar, once the check has taken two seconds.
        ranks: who shares the rows; the report is of all of them.
    """
    from tqdm.auto import tqdm

    mine = ranks.share(len(rows))
    count_of_mine = mine.stop - mine.start

    loader = DataLoader(
        Subset(rows, range(mine.start, mine.stop)),
        batch_size=ROWS_PER_TASK,
        collate_fn=RowChecker(
            builder, Pattern.of(rows, builder.columns, lists=builder.row_reader.holds_list)
        ),
        num_workers=min(num_workers, -(-count_of_mine // ROWS_PER_TASK)),
        worker_init_fn=init_worker,
    )
    found = Checked()
    bar = tqdm(total=count_of_mine, desc="Checking rows", unit="row", delay=2, disable=not show_progress)
    with ranks.together("checking rows"), bar:
        for some in loader:
            found.add(some)
            bar.update(some.rows)
    if ranks.size > 1:
        told, found = ranks.exchange(found), Checked()
        for theirs in told:
            found.add(theirs)
    bad = tuple(sorted(found.bad, key=lambda row: row.row))
    return CheckReport(len(rows), bad, found.sizes, frozenset(found.filled))


def bad_rows_error(bad: Sequence[BadRow], rows: int, *, name: str = "the training dataset") -> DataError:
    """The error that lists them, the first twenty by reason."""
    lines = [f"{len(bad)} of {rows} rows of {name} cannot be used:"]
    lines += [f"  {row.reason}" for row in bad[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  ... and {len(bad) - LISTED} more")
    lines.append('Mend or remove them, or set on_bad_row="skip" to train without them.')
    return DataError("\n".join(lines))
