"""Datasets as rows: one way to read lists of dicts, dicts of columns and `datasets.Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sightline.errors import ConfigError, DataError, SightlineError
from sightline.training.seeds import mix, seeded
from sightline.types import MODALITIES

TARGET_COLUMNS = ("label", "labels", "score", "scores")
TRAINING = "the training dataset"
# What dicts in cells consist of: modalities, chat messages, and the ways to give media.
_CELL_KEYS = (*MODALITIES, "role", "content", "array", "sampling_rate", "bytes", "path")

ColumnRole = Literal["query", "document"]


@dataclass(frozen=True)
class Rows(Dataset):
    """Rows by number, as a map-style dataset for a DataLoader.

    Attributes:
        source: anything with ``len`` and ``source[i]`` giving a mapping.
        column_names: the columns, in order.
        dataset: its name among several datasets; empty for a single one.
        title: what messages call it.
    """

    source: Any
    column_names: tuple[str, ...]
    # (seed, epoch), in memory that worker processes share; None for sources that draw no random numbers.
    clock: Tensor | None = None
    dataset: str = ""
    title: str = TRAINING

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str | None:
        """What `datasets` knows the rows by: the same for the same rows in the same order; None for other sources."""
        import datasets

        return self.source._fingerprint if isinstance(self.source, datasets.Dataset) else None

    def set_epoch(self, seed: int, epoch: int) -> None:
        """What a dataset of a person's own draws at random depends on these and on the row alone."""
        if self.clock is not None:
            self.clock.copy_(torch.tensor([seed, epoch]))

    def __getitem__(self, number: int) -> tuple[int, Mapping[str, Any]]:
        """The row's number and its cells."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        try:
            if self.clock is None:
                row = self.source[number]
            else:
                seed, epoch = self.clock.tolist()
                with seeded(mix(mix(seed, epoch), number)):
                    row = self.source[number]
        except SightlineError:
            raise
        # A dataset of a person's own may raise anything.
        except Exception as error:
            raise DataError(
                f"row {number} of {self.title} cannot be read: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(row, Mapping):
            raise DataError(f"row {number} is a {type(row).__name__}, not a dict of column to value")
        return number, row

    def ready(self, numbers: Sequence[int]) -> list[int]:
        """What a worker process, which has the dataset, is given to have these rows: their numbers."""
        return list(numbers)

    def row_name(self, number: int) -> str:
        """What messages call a row."""
        return f"row {number} of {self.dataset!r}" if self.dataset else f"row {number}"


@dataclass(frozen=True)
class _Columns:
    """Columns of equal length, read row by row."""

    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {name: values[number] for name, values in self.columns.items()}


def as_rows(dataset: Any, *, name: str = TRAINING, key: str = "") -> Rows:
    """Rows of a list of dicts, a dict of columns, a `datasets.Dataset` or any map-style dataset of dicts.

    Images, audio and video of a `datasets.Dataset`, also those in lists and structs, are read undecoded, so that
    opening them happens in worker processes and a broken file is found and named there.

    Args:
        dataset: the rows.
        name: what messages call them.
        key: their name among several datasets.

    Raises:
        DataError: no rows, columns of unequal length, or rows that are not dicts.
        ConfigError: a stream without length.
    """
    import datasets

    if isinstance(dataset, Rows):
        return dataset
    if isinstance(dataset, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        raise ConfigError(f"{name} has splits ({', '.join(dataset)}); choose one, e.g. dataset['train']")
    if not _has_length(dataset):
        raise ConfigError(
            f"{name} is a stream; only training data may be, as every evaluation goes over the same rows, and devices "
            "share them by number: use a datasets.Dataset, e.g. Dataset.from_list(list(stream.take(1000)))"
        )
    if isinstance(dataset, datasets.Dataset):
        from sightline.training.undecoded import undecoded

        columns = tuple(dataset.column_names)
        rows = Rows(undecoded(dataset), columns)
    elif isinstance(dataset, Mapping):
        lengths = {column: len(values) for column, values in dataset.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the columns of {name} differ in length: {lengths}")
        rows = Rows(_Columns(dataset) if lengths else (), tuple(dataset))
    else:
        try:
            first = dataset[0] if len(dataset) else {}
        except (IndexError, KeyError, TypeError) as error:
            raise DataError(
                f"{name} is a {type(dataset).__name__}, whose rows cannot be had by number; give a datasets.Dataset "
                "(of a table of pandas: datasets.Dataset.from_pandas), a list of dicts or a dict of columns"
            ) from error
        if not isinstance(first, Mapping):
            raise DataError(f"row 0 of {name} is a {type(first).__name__}, not a dict of column to value")
        # A dataset of a person's own may draw random numbers; a list does not.
        clock = (
            None if isinstance(dataset, (list, tuple)) else torch.zeros(2, dtype=torch.int64).share_memory_()
        )
        rows = Rows(dataset, tuple(first), clock)
    if not len(rows):
        raise DataError(f"{name} has no rows")
    return replace(rows, dataset=key, title=name)


def _has_length(dataset: Any) -> bool:
    import datasets

    return isinstance(dataset, Sized) and not isinstance(dataset, datasets.IterableDataset)


def named_rows(dataset: Any, title: Callable[[str], str]) -> dict[str, Rows]:
    """Datasets by name; a single one has the empty name.

    Several are a mapping whose values are datasets: `datasets.Dataset`, dicts of columns, or lists of rows. A
    mapping of lists of cells is one dataset, as columns, also where its cells are dicts of modalities; so rows that
    have no column but ``text``, ``image`` and the like have to come as a `datasets.Dataset`.

    Args:
        dataset: one or several; None for none.
        title: what messages call the one of a name, such as `training_set`.

    Raises:
        DataError, ConfigError: as `as_rows`.
    """
    if dataset is None:
        return {}
    if is_several(dataset):
        return {
            str(name): as_rows(one, name=title(str(name)), key=str(name)) for name, one in dataset.items()
        }
    return {"": as_rows(dataset, name=title(""))}


def is_several(dataset: Any) -> bool:
    """Whether a value is several datasets by name; see `named_rows`."""
    import datasets

    if not isinstance(dataset, Mapping) or not dataset:
        return False
    if isinstance(dataset, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        return "train" not in dataset  # else splits, of which one is to be chosen
    return all(_is_dataset(one) for one in dataset.values())


def _is_dataset(value: Any) -> bool:
    """Whether a value of a mapping is a dataset, not the cells of a column."""
    import datasets

    if isinstance(value, (list, tuple)):
        first = value[0] if value else None
        return isinstance(first, Mapping) and not all(name in _CELL_KEYS for name in first)
    if isinstance(value, (Mapping, Dataset, datasets.Dataset, datasets.IterableDataset)):
        return True
    return isinstance(value, Iterable) and not isinstance(value, Sized)


def training_set(name: str) -> str:
    """What messages call a training set."""
    return f"{TRAINING} {name!r}" if name else TRAINING


def evaluation_set(name: str) -> str:
    """What messages call an evaluation set."""
    return f"the evaluation dataset {name!r}" if name else "the evaluation dataset"


@dataclass(frozen=True)
class Columns:
    """Which columns are embedded and how, and which are targets.

    Attributes:
        names: columns that hold items, the anchor first.
        roles: "query" or "document" per name.
        prompts: text put in front of the items of each column, or None.
        targets: label and score columns.
    """

    names: tuple[str, ...]
    roles: tuple[ColumnRole, ...]
    prompts: tuple[str | None, ...]
    targets: tuple[str, ...] = ()

    @property
    def cells(self) -> list[tuple[str, ColumnRole, str | None]]:
        """Name, role and prompt of each column."""
        return list(zip(self.names, self.roles, self.prompts, strict=True))


def choose_columns(
    column_names: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    prompts: str | Mapping[str, str] | None = None,
    role_prompts: Mapping[str, str | None] | None = None,
    prompted: Sequence[ColumnRole] = ("query", "document"),
    name: str = TRAINING,
) -> Columns:
    """The columns by sentence-transformers' convention: the first is the anchor, the others its documents;
    ``label``, ``labels``, ``score`` and ``scores`` are targets.

    Args:
        column_names: all columns of the dataset.
        columns: use only these, in this order.
        roles: column -> "query" or "document" where the convention does not fit.
        prompts: one prompt for every column, or one per column; an empty string for none. Columns without
            one get their role's.
        role_prompts: the model's own prompt per role.
        prompted: the roles that the model puts prompts in front of; a reranker has one for a pair, its query's.
        name: the dataset, for messages.

    Raises:
        DataError: a column that does not exist, an unknown role, a prompt for a column whose role has none, or no
            column with items.
    """
    for what, given in (("columns", columns), ("roles", roles), ("prompts", prompts)):
        unknown = (
            [] if given is None or isinstance(given, str) else [c for c in given if c not in column_names]
        )
        if unknown:
            raise DataError(
                f"{what} names {', '.join(map(repr, unknown))}, "
                f"but {name} has the columns {', '.join(column_names)}"
            )
    chosen = list(column_names if columns is None else columns)
    names = [column for column in chosen if column not in TARGET_COLUMNS]
    if not names:
        raise DataError(f"{name} has no column to embed, only {', '.join(column_names) or 'nothing'}")
    found: list[ColumnRole] = []
    for position, column in enumerate(names):
        role = (roles or {}).get(column, "document" if position else "query")
        if role not in ("query", "document"):
            raise DataError(f"the role of column {column!r} must be query or document, not {role!r}")
        found.append("query" if role == "query" else "document")
    texts: list[str | None] = []
    for column, role in zip(names, found, strict=True):
        if role not in prompted:
            if isinstance(prompts, Mapping) and prompts.get(column):
                raise DataError(
                    f"prompts has a text for column {column!r} of {name}, a {role}, but the model takes one prompt for "
                    f"query and document together; name the column of the {prompted[0]}"
                )
            texts.append(None)
            continue
        default = (role_prompts or {}).get(role)
        text = prompts if isinstance(prompts, str) else (prompts or {}).get(column, default)
        texts.append(text or None)
    targets = tuple(column for column in chosen if column in TARGET_COLUMNS)
    return Columns(tuple(names), tuple(found), tuple(texts), targets)
