"""What can be compared: models, BM25, runs of other software, and what finished runs have found already.

bm25                 BM25 over the text layer
PATH or HUB/NAME     an encoder, ours or a Sentence Transformers checkpoint, with the richest view of a page it takes
text:MODEL           the same over the text layer alone: OCR or PDF text and a text encoder; image:, both: likewise
run:NAME=FILE        what any software retrieved, in TREC's format
FOLDER or FILE.json  a finished run of `sightline train`, or results of `eval` and `compare`: nothing is computed
NAME=any of these    with another name in the table
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sightline.errors import ConfigError, DataError
from sightline.evaluation.rows import BASELINE, Row
from sightline.evaluation.views import default_views
from sightline.runs.evaluate import bm25_row

if TYPE_CHECKING:
    from sightline.evaluation.collection import Exam
    from sightline.evaluation.saved import SavedResults
    from sightline.runs.measure import Wanted

RESULTS = "results.json"
TUNED = "fine-tuned"
_VIEWS = ("text", "image", "both")
_NAMED = re.compile(r"(?P<name>[^=/\\:]+)=(?P<rest>.+)", re.DOTALL)


class System(Protocol):
    """Something that has a row in the table."""

    @property
    def name(self) -> str: ...

    def check(self, exam: Exam) -> None:
        """Finds what is wrong before any system is measured.

        Raises:
            DataError: it does not fit the questions.
        """
        ...

    def rows(self, exam: Exam, wanted: Wanted, device: str | None) -> list[Row]:
        """The system on the questions."""
        ...


@dataclass(frozen=True)
class Bm25:
    """BM25 over the text layer."""

    name: str = BASELINE

    def check(self, exam: Exam) -> None:
        if not exam.has("text"):
            raise DataError(f"{exam.name}: the documents have no text for BM25; leave out {self.name}")

    def rows(self, exam: Exam, wanted: Wanted, device: str | None) -> list[Row]:
        return [bm25_row(exam, name=self.name, keep=wanted.keep)]


@dataclass(frozen=True)
class Model:
    """An encoder.

    Attributes:
        name: in the table.
        path: folder or name on the Hub.
        view: what of a page it sees; None for the richest it takes.
    """

    name: str
    path: str
    view: str | None = None

    def check(self, exam: Exam) -> None:
        needed = {"text": ["text"], "image": ["image"], "both": ["text", "image"], None: []}[self.view]
        for part in needed:
            if not exam.has(part):
                raise DataError(f"{exam.name}: the documents have no {part} for {self.view}:{self.path}")

    def rows(self, exam: Exam, wanted: Wanted, device: str | None) -> list[Row]:
        from sightline.models.encoder import Encoder
        from sightline.runs.measure import measure_encoder

        encoder = Encoder.from_pretrained(self.path, device=device)
        view = self.view or default_views(encoder, exam)[0]
        return measure_encoder(encoder, exam, view, wanted, name=self.name)


@dataclass(frozen=True)
class ExternalRun:
    """What other software retrieved.

    Attributes:
        name: in the table.
        path: file in TREC's format.
    """

    name: str
    path: Path

    def check(self, exam: Exam) -> None:
        from sightline.evaluation.trec import read_run

        run = read_run(self.path)
        if not run.keys() & exam.queries.keys():
            theirs, ours = next(iter(run)), next(iter(exam.queries))
            raise DataError(
                f"{self.path}: none of its queries is a question of {exam.name}; "
                f"its queries are like '{theirs}', the questions like '{ours}'"
            )
        for query in run.keys() & exam.queries.keys():
            unknown = next((page for page in run[query] if page not in exam.corpus), None)
            if unknown is not None:
                raise DataError(f"{self.path}: query '{query}': '{unknown}' is no page of {exam.name}")

    def rows(self, exam: Exam, wanted: Wanted, device: str | None) -> list[Row]:
        from sightline.evaluation.results import result_of_run
        from sightline.evaluation.trec import read_run

        run = read_run(self.path)
        missing = len(exam.queries.keys() - run.keys())
        if missing and wanted.tell is not None:
            wanted.tell(
                f"{self.name}: {missing} of {len(exam.queries)} questions are not in {self.path}; they score 0"
            )
        facts = {"system": "run", "file": str(self.path)}
        result = result_of_run(
            exam.queries,
            run,
            exam.relevant,
            corpus=exam.corpus,
            facts=facts,
            facets=exam.facets,
            keep=wanted.keep,
        )
        return [Row(self.name, "", result)]


@dataclass(frozen=True)
class Finished:
    """Results that were written before.

    Attributes:
        name: of the fine-tuned model.
        saved: the results.
        named: a system that is alone among them, apart from BM25, takes the name too.
    """

    name: str
    saved: SavedResults
    named: bool = False

    @property
    def fingerprint(self) -> str:
        """Of the questions and pages they were measured with.

        Raises:
            DataError: it is not known.
        """
        found = self.saved.facts.get("fingerprint")
        if not isinstance(found, str) or not found:
            raise DataError(
                f"{self.saved.path} does not say which questions and pages it was measured with, so it can be compared "
                "with nothing; name the model itself to measure it again"
            )
        if self.saved.facts.get("searched", "all") != "all":
            raise DataError(
                f"{self.saved.path} was searched within each question's own document; it can be compared with nothing"
            )
        return found

    def check(self, exam: Exam) -> None:
        if self.fingerprint != exam.fingerprint:
            facts = self.saved.facts
            raise DataError(
                f"{self.saved.path} was measured with other questions or pages ({facts.get('questions')} questions, "
                f"{facts.get('pages')} pages, split {facts.get('split')} of {facts.get('dataset')}); here they are "
                f"{len(exam.queries)} and {len(exam.corpus)}, split {exam.split} of {exam.name}. "
                f"Name the model itself, as {self.saved.path.parent / 'final'}, to measure it again"
            )

    def rows(self, exam: Exam, wanted: Wanted, device: str | None) -> list[Row]:
        return self.saved_rows()

    def saved_rows(self) -> list[Row]:
        """The rows; the fine-tuned model, or the one that is named, under this name."""
        rows = self.saved.rows
        alone = self.named and len([row for row in rows if row.name != BASELINE]) == 1
        return [
            replace(row, name=self.name) if row.name == TUNED or (alone and row.name != BASELINE) else row
            for row in rows
        ]


def parse_system(text: str) -> System:
    """A system as a person names it; see the module.

    Raises:
        ConfigError: a run without a name or file.
        DataError: results that cannot be read.
    """
    if text.startswith("run:"):
        name, _, file = text.removeprefix("run:").partition("=")
        if not name or not file:
            raise ConfigError(
                f"'{text}': write run:NAME=FILE, the name it has in the table and a file in TREC's format"
            )
        return ExternalRun(name, Path(file))
    named = _NAMED.fullmatch(text)
    if named and not Path(text).exists():
        system, name = parse_system(named["rest"]), named["name"].strip()
        if isinstance(system, Finished):
            return replace(system, name=name, named=True)
        return replace(system, name=name)  # type: ignore[type-var]
    view, colon, model = text.partition(":")
    if colon and view in _VIEWS:
        if not model:
            raise ConfigError(f"'{text}': name a model, as in {view}:MODEL")
        return Model(Path(model).name or model, model, view)
    if text == BASELINE:
        return Bm25()
    path = Path(text)
    results = path / RESULTS if path.is_dir() else path
    if (
        results.is_file()
        and results.suffix == ".json"
        and (path.is_file() or not (path / "config.json").exists())
    ):
        from sightline.evaluation.saved import read_results

        found = read_results(results)
        return (
            Finished(path.resolve().name, found, named=True) if path.is_dir() else Finished(path.stem, found)
        )
    return Model(path.name or text, text)


def parse_systems(texts: Sequence[str]) -> list[System]:
    """Each as `parse_system`; models of one name get their paths, and the rest must differ.

    Raises:
        ConfigError: two systems of one name.
    """
    systems = [parse_system(text) for text in texts]
    names = [system.name for system in systems]
    systems = [
        replace(system, name=text) if names.count(system.name) > 1 and isinstance(system, Model) and system.path == text
        else system
        for system, text in zip(systems, texts, strict=True)
    ]  # fmt: skip
    seen: set[tuple[str, str | None]] = set()
    for system in systems:
        key = (system.name, system.view if isinstance(system, Model) else None)
        if key in seen:
            raise ConfigError(f"two systems are called '{system.name}'; name them, as in mine={system.name}")
        seen.add(key)
    return systems
