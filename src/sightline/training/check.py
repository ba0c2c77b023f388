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
    """

    rows: int
    bad: tuple[BadRow, ...]
    sizes: Sizes = field(default_factory=dict)

    @property
    def good(self) -> list[int]:
        """Numbers of the usable rows."""
        bad = {row.row for row in self.bad}
        return [number for number in range(self.rows) if number not in bad]


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

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[int, list[BadRow], Sizes]:
        """How many rows were looked at, the bad ones among them, and where the largest items are."""
        bad: list[BadRow] = []
        sizes: Sizes = {}
        for number, row in rows:
            try:
                self._check(number, row, sizes)
            except SightlineError as error:
                bad.append(BadRow(number, str(error), self.builder.dataset))
        return len(rows), bad, sizes

    def _check(self, number: int, row: Mapping[str, Any], sizes: Sizes) -> None:
        builder = self.builder
        self.pattern.check(number, row)
        builder.row_reader.labels(number, row)
        for column, item, role, prompt in builder.row_reader.read(number, row):
            if item is None:
                continue
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
    bad: list[BadRow] = []
    sizes: Sizes = {}
    bar = tqdm(total=count_of_mine, desc="Checking rows", unit="row", delay=2, disable=not show_progress)
    with ranks.together("checking rows"), bar:
        for count, some, some_sizes in loader:
            bad.extend(some)
            merge_sizes(sizes, some_sizes)
            bar.update(count)
    if ranks.size > 1:
        found = ranks.exchange((bad, sizes))
        bad, sizes = [row for theirs, _ in found for row in theirs], {}
        for _, theirs in found:
            merge_sizes(sizes, theirs)
    return CheckReport(len(rows), tuple(sorted(bad, key=lambda row: row.row)), sizes)


def bad_rows_error(bad: Sequence[BadRow], rows: int, *, name: str = "the training dataset") -> DataError:
    """The error that lists them, the first twenty by reason."""
    lines = [f"{len(bad)} of {rows} rows of {name} cannot be used:"]
    lines += [f"  {row.reason}" for row in bad[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  ... and {len(bad) - LISTED} more")
    lines.append('Mend or remove them, or set on_bad_row="skip" to train without them.')
    return DataError("\n".join(lines))
