"""The demo's document collection: PDFs of one fictional group of companies, and questions about them.

`generate` writes ``documents/*.pdf``, ``documents.jsonl`` and ``questions.jsonl``. Everything is drawn
from hand-written vocabulary by one seeded generator, so equal arguments give equal bytes with the same
versions of reportlab, Pillow, NumPy and pypdfium2. What makes the questions fair is in `facts`; the
house language that fine-tuning can learn is in `house`.
"""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.demo.facts import Ledger, Question
from sightline.demo.terms import sentence
from sightline.demo.world import COMPANIES, PRODUCTS, World
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from sightline.demo.study_words import Study
    from sightline.demo.world import Company, Product, Site

# Shares of the kinds, for 48 documents.
_SHARES = {"annual report": 10, "slides": 10, "manual": 10, "research": 7, "form": 6, "letters": 5}
_SMALLEST, _LARGEST = 12, 60
_QUESTIONS_PER_PAGE = 5


@dataclass(frozen=True)
class DocumentRecord:
    """One document: file name, kind, title, pages, and the split it belongs to."""

    document: str
    kind: str
    title: str
    pages: int
    split: str


@dataclass(frozen=True)
class Collection:
    """What was written: the documents, the questions, and the facts they rest on."""

    documents: tuple[DocumentRecord, ...]
    questions: tuple[Question, ...]
    ledger: Ledger

    def split_of(self, document: str) -> str:
        """``train`` or ``test``."""
        return next(record.split for record in self.documents if record.document == document)


@dataclass(frozen=True)
class CollectionSummary:
    """Where the collection is and how large it is.

    Attributes:
        folder: holds ``documents/``, ``documents.jsonl`` and ``questions.jsonl``.
        documents, pages, questions: how many there are.
        test_documents, test_questions: how many of them are held out.
    """

    folder: Path
    documents: int
    pages: int
    questions: int
    test_documents: int
    test_questions: int


def generate(
    folder: Path, *, seed: int = 0, documents: int = 48, progress: Callable[[int, int], None] | None = None
) -> CollectionSummary:
    """Write the collection into ``folder``.

    Args:
        folder: created if missing; files of an earlier collection are overwritten.
        seed: another seed gives other documents.
        documents: how many, 12 to 60.
        progress: called with (documents written, documents in all).

    Raises:
        ConfigError: reportlab is not installed, or ``documents`` is out of range.
    """
    made = compose(folder, seed=seed, documents=documents, progress=progress)
    splits = {record.document: record.split for record in made.documents}
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as file:
        for record in made.documents:
            row = {
                "document": record.document,
                "kind": record.kind,
                "split": record.split,
                "title": record.title,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for number, question in enumerate(made.questions):
            entry: dict[str, object] = {
                "id": f"q{number:04d}", "query": question.query, "document": question.document,
                "pages": list(question.pages), "kind": question.kind, "evidence": question.evidence,
                "split": splits[question.document],
            }  # fmt: skip
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    held_out = [record for record in made.documents if record.split == "test"]
    return CollectionSummary(
        folder=folder,
        documents=len(made.documents),
        pages=sum(record.pages for record in made.documents),
        questions=len(made.questions),
        test_documents=len(held_out),
        test_questions=sum(splits[question.document] == "test" for question in made.questions),
    )


def compose(
    folder: Path, *, seed: int = 0, documents: int = 48, progress: Callable[[int, int], None] | None = None
) -> Collection:
    """Write the PDFs into ``folder/documents`` and return what is known about them. See `generate`."""
    if importlib.util.find_spec("reportlab") is None:
        raise ConfigError("the demo's documents are typeset with reportlab: pip install 'sightline[demo]'")
    if not _SMALLEST <= documents <= _LARGEST:
        raise ConfigError(f"the collection has {_SMALLEST} to {_LARGEST} documents, not {documents}")
    world, ledger = World(random.Random(seed)), Ledger()
    target = folder / "documents"
    target.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(world, _counts(documents))
    held_out = _held_out(world.rng, [kind for kind, _, _ in jobs])
    records: list[DocumentRecord] = []
    for number, (kind, name, write) in enumerate(jobs):
        title, pages = write(world, ledger, target / name, name)
        split = "test" if number in held_out else "train"
        records.append(DocumentRecord(name, kind, sentence(title), pages, split))
        if progress is not None:
            progress(number + 1, len(jobs))
    questions = ledger.questions(world.rng, per_page=_QUESTIONS_PER_PAGE)
    return Collection(tuple(records), tuple(questions), ledger)


_Writer = Callable[[World, Ledger, Path, str], tuple[str, int]]


def _counts(documents: int) -> dict[str, int]:
    """Documents of each kind, in the proportions of `_SHARES`, at least two of each."""
    whole = sum(_SHARES.values())
    counts = {kind: max(2, documents * share // whole) for kind, share in _SHARES.items()}
    kinds = sorted(_SHARES, key=lambda kind: -_SHARES[kind])
    place = 0
    while sum(counts.values()) != documents:
        missing = documents - sum(counts.values())
        kind = kinds[place % len(kinds)]
        if missing > 0 or counts[kind] > 2:
            counts[kind] += 1 if missing > 0 else -1
        place += 1
    return counts


def _jobs(world: World, counts: dict[str, int]) -> list[tuple[str, str, _Writer]]:
    """Kind, file name and writer of every document."""
    from sightline.demo.kinds import annual_report, forms, letters, manual, research, slides
    from sightline.demo.project_words import WINDS
    from sightline.demo.study_words import STUDIES

    def report(company: Company) -> _Writer:
        return lambda w, ledger, path, name: annual_report.build(w, ledger, path, name, company)

    def deck(company: Company, wind: str) -> _Writer:
        return lambda w, ledger, path, name: slides.build(w, ledger, path, name, company, wind)

    def handbook(product: Product) -> _Writer:
        return lambda w, ledger, path, name: manual.build(w, ledger, path, name, product)

    def paper(study: Study) -> _Writer:
        return lambda w, ledger, path, name: research.build(w, ledger, path, name, study)

    def file(company: Company, site: Site) -> _Writer:
        return lambda w, ledger, path, name: forms.build(w, ledger, path, name, company, site)

    def post(company: Company) -> _Writer:
        return lambda w, ledger, path, name: letters.build(w, ledger, path, name, company)

    rng = world.rng
    jobs: list[tuple[str, str, _Writer]] = []
    for company in rng.sample(COMPANIES, counts["annual report"]):
        jobs.append(("annual report", f"{company.short.lower()}-annual-report.pdf", report(company)))
    for company, wind in zip(rng.sample(COMPANIES, counts["slides"]), rng.sample(WINDS, counts["slides"])):
        jobs.append(("slides", f"project-{wind.lower()}.pdf", deck(company, wind)))
    for product in rng.sample(PRODUCTS, counts["manual"]):
        jobs.append(("manual", f"manual-{product.name.lower().replace(' ', '-')}.pdf", handbook(product)))
    for number, study in enumerate(rng.sample(STUDIES, counts["research"]), start=1):
        jobs.append(("research", f"laboratory-report-{number:02d}.pdf", paper(study)))
    for company in rng.sample(COMPANIES, counts["form"]):
        site = rng.choice(company.sites)
        jobs.append(("form", f"forms-{company.short.lower()}-{_plain(site.city)}.pdf", file(company, site)))
    for company in rng.sample(COMPANIES, counts["letters"]):
        jobs.append(("letters", f"letters-{company.short.lower()}.pdf", post(company)))
    return jobs


def _held_out(rng: random.Random, kinds: list[str]) -> set[int]:
    """Numbers of the test documents: a third of each kind, at least one."""
    chosen: set[int] = set()
    for kind in _SHARES:
        numbers = [number for number, other in enumerate(kinds) if other == kind]
        chosen.update(rng.sample(numbers, max(1, round(len(numbers) / 3))))
    return chosen


def _plain(city: str) -> str:
    return city.lower().translate(str.maketrans("öå ", "oa-"))
