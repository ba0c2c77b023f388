"""What the data doctor examines, of a run or of somebody's folder: pages or tables, and their cleaned copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.clean_pages import write_clean_pages
from sightline.documents.doctor.cleaning import Cleaning, new_folder
from sightline.documents.doctor.contents import Contents
from sightline.documents.doctor.findings import Case
from sightline.documents.doctor.page_contents import contents_of, known_cases
from sightline.documents.doctor.table_contents import Table, contents_of_tables

if TYPE_CHECKING:
    import datasets


class Source(Protocol):
    """Pages and questions, or tables."""

    def contents(self) -> tuple[Contents, list[Case]]:
        """What there is, and what was found while reading it.

        Raises:
            DataError: it cannot be read.
        """
        ...

    def write_clean(self, contents: Contents, cleaning: Cleaning, output: Path) -> None:
        """A copy without what is to be left out.

        Raises:
            DataError: it cannot be written there.
        """
        ...

    def moved(self, output: Path) -> Source:
        """The copy that `write_clean` wrote."""
        ...


@dataclass(frozen=True)
class PageSource:
    """A dataset of `sightline ingest`; see `Source`.

    Attributes:
        dataset: the dataset.
        train: the split that is trained on.
        measured: the split that is measured with; None for all others.
        images: whether the page images matter.
    """

    dataset: Dataset
    train: str = "train"
    measured: str | None = None
    images: bool = True

    def contents(self) -> tuple[Contents, list[Case]]:
        sides = None if self.measured is None else tuple(dict.fromkeys((self.train, self.measured)))
        contents = contents_of(self.dataset, images=self.images, train=self.train, sides=sides)
        cases = known_cases(self.dataset)
        if self.measured == self.train:
            message = f"data.split and evaluation.split are both {self.train!r}"
            cases.append(Case("same-split", str(self.dataset.root), message))
        return contents, cases

    def write_clean(self, contents: Contents, cleaning: Cleaning, output: Path) -> None:
        write_clean_pages(self.dataset, contents, cleaning, output)

    def moved(self, output: Path) -> PageSource:
        return replace(self, dataset=Dataset.load(output))


@dataclass(frozen=True)
class OpenTable:
    """A table of rows, opened.

    Attributes:
        rows: all of it.
        columns: the question's, the answer's and those of other documents; labels by name.
        subset, split: what `datasets` finds it under.
        is_trained_on: whether training sees it.
    """

    rows: datasets.Dataset
    columns: Sequence[str]
    subset: str = "default"
    split: str = "train"
    is_trained_on: bool = True


@dataclass(frozen=True)
class TableSource:
    """Tables by what messages call them; see `Source`.

    Attributes:
        name: what all of them together are called.
        tables: name of the side -> its rows.
        modalities: what the model reads, where it is known.
    """

    name: str
    tables: Mapping[str, OpenTable]
    modalities: Sequence[str] | None = None

    def contents(self) -> tuple[Contents, list[Case]]:
        from sightline.training.undecoded import undecoded

        tables = [
            Table(side, undecoded(one.rows), one.columns, one.is_trained_on)
            for side, one in self.tables.items()
        ]
        return contents_of_tables(self.name, tables, modalities=self.modalities)

    def write_clean(self, contents: Contents, cleaning: Cleaning, output: Path) -> None:
        """Parquet, to be opened as the tables were: by ``subset`` and ``split``."""
        of_side: dict[str, list[int]] = {side: [] for side in self.tables}
        for number, one in enumerate(contents.asked):
            of_side[one.name.rpartition(" row ")[0]].append(number)
        with new_folder(output) as folder:
            for side, table in self.tables.items():
                place = folder / table.subset / f"{table.split}.parquet"
                place.parent.mkdir(exist_ok=True)
                _cleaned(table.rows, of_side[side], contents, cleaning).to_parquet(str(place))
            (folder / "README.md").write_text(_readme(self.tables.values()), encoding="utf-8")
            cleaning.write(folder)

    def moved(self, output: Path) -> TableSource:
        import datasets

        tables = {
            side: replace(one, rows=datasets.load_dataset(str(output), one.subset, split=one.split))
            for side, one in self.tables.items()
        }
        return replace(self, name=str(output), tables=tables)


def _cleaned(
    rows: datasets.Dataset, numbers: Sequence[int], contents: Contents, cleaning: Cleaning
) -> datasets.Dataset:
    """The rows that stay, without the negatives that go; ``numbers`` are those of their questions."""
    from sightline.training.undecoded import undecoded

    emptied: dict[int, list[str]] = {}
    kept: list[int] = []
    for number in numbers:
        one = contents.asked[number]
        if number in cleaning.questions:
            continue
        lost = cleaning.lost(number, contents)
        columns = [column for column, sheet in zip(one.cells, one.negatives, strict=True) if sheet in lost]
        if columns:
            emptied[len(kept)] = columns
        kept.append(one.row)
    features = rows.features
    found = undecoded(rows).select(kept)
    if emptied:

        def without(row: dict[str, Any], place: int) -> dict[str, Any]:
            return dict.fromkeys(emptied.get(place, ()))

        found = found.map(without, with_indices=True, features=found.features, load_from_cache_file=False)
    return found.cast(features)


def _readme(tables: Any) -> str:
    """Says to `datasets` which file is which subset and split."""
    lines = ["---", "configs:"]
    by_subset: dict[str, list[str]] = {}
    for table in tables:
        by_subset.setdefault(table.subset, []).append(table.split)
    for subset, splits in by_subset.items():
        lines += [f"- config_name: {subset}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {subset}/{split}.parquet"]
    return "\n".join([*lines, "---", ""])
