"""Streams: training data that has no length and no rows by number, read once, from the front.

A stream is read by the main process, one batch after the other; worker processes are given rows instead of numbers.
Rows are numbered as they come, after the shuffling. One that ends begins anew, in another order, with the numbers
going on, so that a run of N steps has N full batches, and resuming is skipping the rows of the steps that were done.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from sightline.errors import DataError
from sightline.training.rows import TRAINING, Rows, as_rows, is_several, named_rows, training_set

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class StreamSettings:
    """How streams are read.

    Attributes:
        seed: of the shuffling.
        buffer: rows that are held to draw the next one from; 1 keeps the order.
        keep: rows remembered after they were read, for batches that have to be made again.
    """

    seed: int = 0
    buffer: int = 1000
    keep: int = 1024


class Stream(Dataset):
    """The rows of a stream by number, to be asked for in ascending order.

    Asking for one that is further back than the rows remembered reads the stream again, from its front.

    Args:
        source: a `datasets.IterableDataset`, or any iterable of dicts.
        settings: how it is read.
        dataset: its name among several datasets.
        title: what messages call it.

    Raises:
        DataError: it has no rows, or they are not dicts.
    """

    def __init__(
        self, source: Any, settings: StreamSettings, *, dataset: str = "", title: str = TRAINING
    ) -> None:
        self.dataset = dataset
        self.title = title
        self.settings = settings
        self._source: Any = _shuffled(source, settings)
        self._rows: Iterator[Any] = iter(())
        self._next = 0
        self._passes = -1
        self._begun_at = 0
        self._recent: OrderedDict[int, Mapping[str, Any]] = OrderedDict()
        self.column_names: tuple[str, ...] = tuple(self[0][1])

    def __len__(self) -> int:
        """How many rows were read so far."""
        return self._next

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes get rows, not the stream.
        return vars(self) | {"_source": None, "_rows": None, "_recent": OrderedDict()}

    def __getitem__(self, number: int) -> tuple[int, Mapping[str, Any]]:
        """The row's number and its cells."""
        if number not in self._recent and number < self._next:
            self._passes, self._next = -1, 0
            self._rows, self._recent = iter(()), OrderedDict()
        while number not in self._recent:
            self._read()
        return number, self._recent[number]

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Nothing: the order depends on how often the stream has begun."""

    def row_name(self, number: int) -> str:
        """What messages call a row."""
        return f"row {number} of {self.dataset!r}" if self.dataset else f"row {number}"

    def _read(self) -> None:
        row = next(self._rows, None)
        if row is None:
            if self._passes >= 0 and self._next == self._begun_at:
                again = "can be read once only (a generator, say)" if self._next else "has no rows"
                raise DataError(
                    f"{self.title} {again}; give a datasets.IterableDataset, or an iterable that begins anew each time"
                )
            self._passes += 1
            self._begun_at = self._next
            self._source.set_epoch(self._passes)
            self._rows = iter(self._source)
            return
        if not isinstance(row, Mapping):
            raise DataError(
                f"row {self._next} of {self.title} is a {type(row).__name__}, not a dict of column to value"
            )
        self._recent[self._next] = row
        self._next += 1
        if len(self._recent) > self.settings.keep:
            self._recent.popitem(last=False)


def is_stream(dataset: Any) -> bool:
    """Whether a value is rows without a length."""
    import datasets

    if isinstance(dataset, datasets.IterableDataset):
        return True
    return isinstance(dataset, Iterable) and not isinstance(dataset, (Sized, str, Mapping))


def _shuffled(source: Any, settings: StreamSettings) -> datasets.IterableDataset:
    """The stream behind the shuffle buffer of `datasets`."""
    import datasets
    from datasets.iterable_dataset import ExamplesIterable

    if not isinstance(source, datasets.IterableDataset):
        source = datasets.IterableDataset(ExamplesIterable(_numbered, {"rows": _Opaque(source)}))
    elif source.features is not None:
        from sightline.training.undecoded import undecoded

        source = undecoded(source)
    if settings.buffer > 1:
        source = source.shuffle(seed=settings.seed, buffer_size=settings.buffer)
    return source


class _Opaque:
    """An iterable that `datasets` does not look into: it copies its arguments, and divides lists among shards."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self.rows = rows

    def __deepcopy__(self, memo: Any) -> _Opaque:
        return self


def _numbered(rows: _Opaque) -> Iterator[tuple[int, Any]]:
    return enumerate(rows.rows)


def read_training(dataset: Any, settings: StreamSettings) -> dict[str, Rows | Stream]:
    """The training datasets by name, streams among them; a single one has the empty name.

    Raises:
        DataError, ConfigError: as of `named_rows` and `Stream`.
    """
    if is_stream(dataset):
        return {"": Stream(dataset, settings)}
    if not is_several(dataset):
        return dict(named_rows(dataset, training_set))
    found: dict[str, Rows | Stream] = {}
    for name, one in dataset.items():
        if is_stream(one):
            found[str(name)] = Stream(one, settings, dataset=str(name), title=training_set(str(name)))
        else:
            found[str(name)] = as_rows(one, name=training_set(str(name)), key=str(name))
    return found
