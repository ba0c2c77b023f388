"""A look at every row before the first step: one corrupt image must not end a run after hours.

Each row is read as in training and each image, recording or video in it is preprocessed as in training, in
worker processes and without the model. Of texts, one of each kind is: whether the model takes it where it stands.
What an evaluator asks a model is looked at in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, Subset

from sightline.errors import DataError, SightlineError
from sightline.inputs.refusals import refuse_media_as_text
from sightline.training.alike import Pattern
from sightline.training.batches import BadRow, BatchBuilder
from sightline.training.distributed import ALONE, Ranks
from sightline.training.feeding import init_worker
from sightline.training.item_check import ItemCheck
from sightline.training.rows import Rows
from sightline.training.samples import Sizes, merge_sizes, note_size
from sightline.types import Features, Item

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
    """The collate function of the check. Keeps, per worker process, which items it has seen.

    Attributes:
        builder: how rows are read.
        pattern: what they have in common.
    """

    builder: BatchBuilder
    pattern: Pattern

    def __post_init__(self) -> None:
        self._ask = ItemCheck(self.builder.preprocess)

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
            features = self._ask(item, role=role, prompt=prompt)
            if item.modalities == {"text"}:
                note_size(sizes, column, item, number)
            elif features is not None:
                note_size(sizes, column, item, number, features)


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
    checker = RowChecker(builder, Pattern.of(rows, builder.columns, lists=builder.row_reader.holds_list))
    found = _looked_at(
        rows, checker, "rows", num_workers=num_workers, show_progress=show_progress, ranks=ranks
    )
    bad = tuple(sorted(found.bad, key=lambda row: row.row))
    return CheckReport(len(rows), bad, found.sizes, frozenset(found.filled))


class Asked(NamedTuple):
    """What an evaluation asks a model.

    Attributes:
        items: what it is run on. Reading one parses it, and raises SightlineError that calls it by its name.
        role, prompt: how it is run.
    """

    items: Sequence[Item]
    role: str | None
    prompt: str | None


def check_inputs(
    asked: Sequence[Asked],
    preprocess: Callable[..., Features],
    *,
    num_workers: int = 0,
    show_progress: bool = True,
    ranks: Ranks | None = None,
) -> None:
    """Parses everything an evaluation asks a model, and opens every medium, once.

    Args:
        asked: what it asks.
        preprocess: the model's preprocessor.
        num_workers, show_progress, ranks: as of `check_rows`.

    Raises:
        DataError: inputs that cannot be used; names the first twenty.
    """
    numbers = _Numbers(sum(len(one.items) for one in asked))
    checker = _InputChecker(tuple(asked), ItemCheck(preprocess))
    found = _looked_at(
        numbers, checker, "inputs", num_workers=num_workers, show_progress=show_progress, ranks=ranks or ALONE
    )
    if found.bad:
        bad = sorted(found.bad, key=lambda one: one.row)
        lines = [f"{len(bad)} of {len(numbers)} inputs of the evaluation cannot be used:", *_listed(bad)]
        raise DataError("\n".join([*lines, "Mend them, or evaluate without them."]))


class _Numbers(Dataset[int]):
    """As many numbers as there are inputs: parsing them is left to who looks at them, who names what is wrong."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> int:
        return number


@dataclass
class _InputChecker:
    """The collate function of a look at an evaluation's inputs, which it is given the numbers of."""

    asked: Sequence[Asked]
    ask: ItemCheck

    def __call__(self, numbers: Sequence[int]) -> Checked:
        found = Checked(len(numbers))
        for number in numbers:
            place, which = number, 0
            while place >= len(self.asked[which].items):
                place -= len(self.asked[which].items)
                which += 1
            items, role, prompt = self.asked[which]
            name: str | None = None
            try:
                item = items[place]
                name = item.source
                self.ask(item, role=role, prompt=prompt)
            except SightlineError as error:
                found.bad.append(BadRow(number, str(error)))
            except Exception as error:
                raise DataError(
                    f"{name or f'input {number}'}: {type(error).__name__} while looking at it: {error}"
                ) from error
        return found


def _looked_at(
    dataset: Dataset[Any],
    look: Callable[[Sequence[Any]], Checked],
    what: str,
    *,
    num_workers: int,
    show_progress: bool,
    ranks: Ranks,
) -> Checked:
    """What all ranks find together, each in worker processes of its own; ``look`` is given some elements at a time."""
    from tqdm.auto import tqdm

    mine = ranks.share(len(dataset))  # type: ignore[arg-type]
    count = mine.stop - mine.start
    loader: DataLoader[Any] = DataLoader(
        Subset(dataset, range(mine.start, mine.stop)),
        batch_size=ROWS_PER_TASK,
        collate_fn=look,
        num_workers=min(num_workers, -(-count // ROWS_PER_TASK)),
        worker_init_fn=init_worker,
    )
    found = Checked()
    bar = tqdm(total=count, desc=f"Checking {what}", unit=what[:-1], delay=2, disable=not show_progress)
    with ranks.together(f"checking {what}"), bar:
        for some in loader:
            found.add(some)
            bar.update(some.rows)
    if ranks.size > 1:
        told, found = ranks.exchange(found), Checked()
        for theirs in told:
            found.add(theirs)
    return found


def bad_rows_error(bad: Sequence[BadRow], rows: int, *, name: str = "the training dataset") -> DataError:
    """The error that lists them, the first twenty by reason."""
    lines = [f"{len(bad)} of {rows} rows of {name} cannot be used:", *_listed(bad)]
    lines.append('Mend or remove them, or set on_bad_row="skip" to train without them.')
    return DataError("\n".join(lines))


def _listed(bad: Sequence[BadRow]) -> list[str]:
    lines = [f"  {row.reason}" for row in bad[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  ... and {len(bad) - LISTED} more")
    return lines
