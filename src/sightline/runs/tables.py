"""Tables as they are published: a row holds a question, the document that answers it, and others that do not."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config.recipe import Recipe
from sightline.errors import ConfigError, DataError
from sightline.evaluation.metrics import Run
from sightline.evaluation.rows import Row
from sightline.runs.cells import Cells, cell_id
from sightline.runs.sources import OpenTable, TableSource
from sightline.runs.table_fingerprint import table_fingerprint

if TYPE_CHECKING:
    import datasets

    from sightline.evaluation.retrieval import RetrievalEvaluator

# What `datasets` reads files by, and the endings that say so.
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".json": "json", ".csv": "csv"}


class TableMaterial:
    """A table with one column per kind of cell; see `Material`.

    The evaluation rows give one question each. Every document of every row is searched: the one that answers the
    question and those that do not are all in the collection, each cell once.

    Args:
        recipe: what to open.
        prompts: of questions and of documents, in place of the model's own.

    Raises:
        DataError: a table that cannot be opened, without rows, or without a column the recipe names.
    """

    def __init__(self, recipe: Recipe, *, prompts: tuple[str | None, str | None] = (None, None)) -> None:
        self.recipe, self._prompts = recipe, prompts
        data, evaluation = recipe.data, recipe.evaluation
        self._rows = open_table(
            data.dataset, subset=data.subset, split=data.split, revision=data.revision,
            columns=data.columns, max_rows=data.max_rows, source=f"{recipe.source}: [data]",
        )  # fmt: skip
        own = evaluation.dataset is None
        self._held_out = open_table(
            evaluation.dataset or data.dataset,
            subset=evaluation.subset or (data.subset if own else None),
            split=evaluation.split,
            revision=data.revision if own else None,
            columns=evaluation.columns or [name for name in data.columns if name not in _targets()],
            max_rows=evaluation.max_rows,
            source=f"{recipe.source}: [evaluation]",
        )
        if len(self._held_out.column_names) < 2:
            raise ConfigError(
                f"{recipe.source}: evaluation.columns needs the question's column and at least one of documents"
            )
        self._empty = {name: empty_cells(self._held_out, name) for name in self._held_out.column_names}
        for name in self._held_out.column_names[:2]:
            if self._empty[name]:
                row = min(self._empty[name])
                raise DataError(f"{self._measured}: row {row}, column {name!r} is empty")

    @property
    def name(self) -> str:
        return self.recipe.data.dataset

    @property
    def title(self) -> str:
        return Path(self._measured).name

    @property
    def _measured(self) -> str:
        return self.recipe.evaluation.dataset or self.recipe.data.dataset

    @property
    def views(self) -> Sequence[str]:
        return ("",)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {
            "dataset": self._measured,
            "split": " ".join(filter(None, (self.recipe.evaluation.subset, self.recipe.evaluation.split))),
            "columns": ", ".join(self._held_out.column_names),
            "questions": len(self._held_out),
            "pages": len(self.documents),
            "documents": len(self.documents),
        }

    @property
    def fingerprint(self) -> str:
        return table_fingerprint(self.questions, self.documents, self.relevant)

    @property
    def measured_on(self) -> str:
        return f"{len(self._held_out):,} questions over {len(self.documents):,} documents"

    def rows(self) -> datasets.Dataset:
        return self._rows

    def source(self) -> TableSource:
        recipe = self.recipe
        tables = {
            "train": OpenTable(self._rows, self._rows.column_names, "train"),
            "evaluation": OpenTable(
                self._held_out, self._held_out.column_names, "evaluation", is_trained_on=False
            ),
        }
        for name, rows in open_more(recipe).items():
            tables[f"more.{name}"] = OpenTable(rows, rows.column_names, f"more.{name}")
        return TableSource(self.name, tables)

    def check(self, model: Any) -> None:
        """See `Material`; of a column of media one cell tells its modality, and no other is opened."""
        from sightline.inputs.parse import parse
        from sightline.inputs.refusals import refuse_media_as_text
        from sightline.training.undecoded import undecoded

        for place, column in enumerate(self._held_out.column_names):
            rows = self._filled(column)
            cells = undecoded(self._held_out.select_columns([column]))
            for row in rows[:1] if self._holds_media(column) else rows:
                what = "document" if place else "question"
                source = f"evaluation {what} {row}:{column} (row:column)"
                value = cells[row][column]
                refuse_media_as_text(value, source, model.modalities)
                parse(value, source=source, modalities=model.modalities)

    def baseline(self) -> Row | None:
        from sightline.evaluation.bm25 import BM25
        from sightline.evaluation.results import result_of_run

        if any(map(self._holds_media, self._held_out.column_names)):
            return None
        texts = {name: value for name, value in self.documents.items() if isinstance(value, str)}
        queries = {name: value for name, value in self.questions.items() if isinstance(value, str)}
        if len(texts) < len(self.documents) or len(queries) < len(self.questions):
            return None
        result = result_of_run(
            queries, BM25(texts).run(queries), self.relevant, corpus=texts, facts={"system": "BM25"}
        )
        return Row("bm25", "", result)

    def evaluator(
        self, view: str, *, dims: Sequence[int] | None = None, show_progress: bool | None = None
    ) -> RetrievalEvaluator:
        from sightline.evaluation.retrieval import RetrievalEvaluator

        options: list[dict[str, Any]] = [{"show_progress": show_progress} for _ in self._prompts]
        for one, prompt in zip(options, self._prompts, strict=True):
            if prompt is not None:
                one["prompt"] = prompt
        return RetrievalEvaluator(
            self.questions, self.documents, self.relevant, dims=dims,
            query_options=options[0], document_options=options[1],
        )  # fmt: skip

    def first_search(self, depth: int, *, seed: int) -> Run:
        chance = random.Random(seed)
        everything = list(self.documents)
        question, *columns = self._held_out.column_names
        run = {}
        for row in range(len(self._held_out)):
            own = [name for column in columns if (name := cell_id(row, column)) in self.documents][:depth]
            others = (
                name for name in chance.sample(everything, min(len(everything), depth)) if name not in own
            )
            drawn = [*own, *islice(others, depth - len(own))]
            run[cell_id(row, question)] = {name: chance.random() for name in drawn}
        return run

    @property
    def first_search_told(self) -> str:
        return "the row's own and others drawn at random"

    def thumbnail(self, document: str) -> Path | None:
        value = self.documents.get(document)
        if isinstance(value, Mapping) and not value.get("bytes"):
            value = value.get("path")
        return Path(value) if isinstance(value, (str, Path)) and Path(value).is_file() else None

    # What is measured with

    @cached_property
    def questions(self) -> Cells:
        """Question id (``row:column``) -> cell."""
        column = self._held_out.column_names[0]
        return Cells(self._held_out, [(row, column) for row in range(len(self._held_out))])

    @cached_property
    def documents(self) -> Cells:
        """Document id (``row:column``) -> cell; empty cells are left out."""
        columns = self._held_out.column_names[1:]
        rows = range(len(self._held_out))
        places = [(row, name) for row in rows for name in columns if row not in self._empty[name]]
        return Cells(self._held_out, places)

    @property
    def relevant(self) -> dict[str, set[str]]:
        """Question id -> the document that answers it."""
        question, answer = self._held_out.column_names[:2]
        return {cell_id(row, question): {cell_id(row, answer)} for row in range(len(self._held_out))}

    def _filled(self, column: str) -> list[int]:
        """The rows whose cell is not empty."""
        return [row for row in range(len(self._held_out)) if row not in self._empty[column]]

    def _holds_media(self, column: str) -> bool:
        from sightline.training.undecoded import MEDIA

        return isinstance(self._held_out.features[column], MEDIA)


def empty_cells(table: datasets.Dataset, column: str) -> frozenset[int]:
    """The rows of a table whose cell is empty, found without looking into the others."""
    import pyarrow.compute

    found: list[int] = []
    first = 0
    for some in table.select_columns([column]).with_format("arrow").iter(batch_size=1000):
        for piece in some[column].chunks:
            empty = piece.is_null()
            if pyarrow.types.is_struct(piece.type) and {"bytes", "path"} <= {f.name for f in piece.type}:
                # A file of Parquet may hold a medium without bytes and path in place of none.
                inner = [pyarrow.compute.struct_field(piece, [name]).is_null() for name in ("bytes", "path")]
                empty = pyarrow.compute.or_(empty, pyarrow.compute.and_(*inner))
            found += [first + row for row, one in enumerate(empty.to_pylist()) if one]
            first += len(piece)
    return frozenset(found)


def open_table(
    name: str,
    *,
    subset: str | None,
    split: str,
    revision: str | None,
    columns: Sequence[str],
    max_rows: int | None,
    source: str,
) -> datasets.Dataset:
    """Columns of a table on the Hub, of a folder or file that `datasets` reads, or of what it has saved.

    Args:
        name: name on the Hub, folder or file.
        subset: configuration on the Hub, or one that the folder's README.md declares.
        split: which rows.
        revision: branch, tag or commit on the Hub.
        columns: those to keep, in this order.
        max_rows: the first so many rows only.
        source: the recipe and its table, for messages.

    Raises:
        DataError: it cannot be opened, has no such split, no such column or no rows.
    """
    found = _loaded(name, subset=subset, split=split, revision=revision, source=source)
    missing = [column for column in columns if column not in found.column_names]
    if missing:
        raise DataError(
            f"{source}: {name} has no column {missing[0]!r}; it has {', '.join(found.column_names)}"
        )
    found = found.select_columns(list(columns))
    if max_rows is not None:
        found = found.select(range(min(max_rows, len(found))))
    if not len(found):
        raise DataError(f"{source}: {name} has no rows in split {split!r}")
    return found


def open_more(recipe: Recipe) -> dict[str, datasets.Dataset]:
    """The further tables of a recipe, by name.

    Raises:
        ConfigError: one without columns.
        DataError: one that cannot be opened, or without a column the recipe names.
    """
    found = {}
    for name, table in recipe.more.items():
        source = f"{recipe.source}: [more.{name}]"
        if not table.columns:
            raise ConfigError(f"{source}: columns is empty; name those to train on")
        found[name] = open_table(
            table.dataset, subset=table.subset, split=table.split, revision=table.revision,
            columns=table.columns, max_rows=table.max_rows, source=source,
        )  # fmt: skip
    return found


def open_all(name: str) -> dict[str, tuple[datasets.Dataset, str, str]]:
    """Every subset and split of a folder or file: what to call it -> its rows, subset and split.

    Raises:
        DataError: it cannot be opened.
    """
    import datasets

    path = Path(name).expanduser()
    if path.is_file() or (path / "state.json").is_file():
        return {
            "train": (
                _loaded(name, subset=None, split="train", revision=None, source=name),
                "default",
                "train",
            )
        }
    try:
        if (path / "dataset_dict.json").is_file():
            found = {"default": datasets.load_from_disk(str(path))}
        else:
            subsets = datasets.get_dataset_config_names(str(path))
            found = {subset: datasets.load_dataset(str(path), subset) for subset in subsets}
    except Exception as error:  # as in `_loaded`
        raise _unopened(name, error, name) from error
    rows = [(subset, str(split), one) for subset, splits in found.items() for split, one in splits.items()]
    several = len({split for _, split, _ in rows}) < len(rows)  # then subsets tell them apart
    return {(subset if several else split): (one, subset, split) for subset, split, one in rows}


def _loaded(
    name: str, *, subset: str | None, split: str, revision: str | None, source: str
) -> datasets.Dataset:
    import datasets

    path = Path(name).expanduser()
    try:
        if (path / "dataset_dict.json").is_file():
            splits = datasets.load_from_disk(str(path))
            if split not in splits:
                raise DataError(f"{source}: {name} has no split {split!r}; it has {', '.join(splits)}")
            return splits[split]
        if (path / "state.json").is_file():
            return datasets.load_from_disk(str(path))
        if path.is_file():
            builder = _BUILDERS.get(path.suffix)
            if builder is None:
                raise DataError(f"{source}: {name}: ends in none of {', '.join(_BUILDERS)}")
            return datasets.load_dataset(builder, data_files={split: str(path)}, split=split)
        return datasets.load_dataset(
            str(path) if path.is_dir() else name, subset, split=split, revision=revision
        )
    except DataError:
        raise
    # What reads files and what reads the Hub raise a dozen kinds of errors.
    except Exception as error:
        raise _unopened(name, error, source) from error


def _unopened(name: str, error: Exception, source: str) -> DataError:
    from datasets.exceptions import DatasetGenerationError

    cause: BaseException = error
    if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        cause = error.__cause__
    first = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
    return DataError(f"{source}: the dataset {name!r} cannot be opened: {_bad_line(name) or first}")


def _bad_line(name: str) -> str:
    """Of a file of JSON lines the first that is none; a parser that reads blocks does not say which."""
    path = Path(name).expanduser()
    if path.suffix != ".jsonl" or not path.is_file():
        return ""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                is_row = not line.strip() or isinstance(json.loads(line), dict)
            except ValueError:
                is_row = False
            if not is_row:
                return f"{path.name}:{number}: not a JSON object"
    return ""


def _targets() -> tuple[str, ...]:
    from sightline.training.rows import TARGET_COLUMNS

    return TARGET_COLUMNS
