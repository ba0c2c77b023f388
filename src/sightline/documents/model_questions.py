"""Questions that a vision-language model writes from the page images, asked through any OpenAI-compatible endpoint.

The page images leave this machine for where the endpoint is. Every answer is kept in the dataset's folder
``questions/``, on disk before it counts: a run that was killed goes on without asking anything twice, and ends with
the same dataset.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.documents import store
from sightline.documents.adding import add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.generation.asking import Asker, NoUseError, each, run
from sightline.documents.generation.candidates import (
    FOLDER,
    Candidate,
    QuestionsReport,
    Rejected,
    counts,
    write_rejected,
)
from sightline.documents.generation.chat import AnswerBook, PageImage
from sightline.documents.generation.endpoint import Endpoint, EndpointSettings, GivenUpError
from sightline.documents.generation.filters import (
    Distinct,
    Groups,
    Margin,
    bm25_search,
    check_wording,
    known_questions,
)
from sightline.documents.generation.meter import Meter, shown
from sightline.documents.generation.pages import usual_splits, wanted_pages
from sightline.documents.generation.prompts import (
    KINDS,
    MULTI_PAGE,
    PAGE_KINDS,
    ask_check,
    ask_page,
    ask_pages,
    read_check,
    read_questions,
)
from sightline.documents.records import Page
from sightline.errors import ConfigError, EndpointError

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder

_LANGUAGE = re.compile(r"[a-z]{2}")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a model is asked to write, and what is kept of it.

    Attributes:
        kinds: which of `KINDS`.
        per_kind: the most questions of each kind and language about a page, or a group of pages.
        languages: ISO 639-1 codes; empty for the language of each page.
        pixels: page images with more are made smaller before they are sent.
        max_tokens: of an answer.
        splits: whose documents; None as in `OfflineSettings`.
        pages: ask about this many pages, drawn by the seed; None for all.
        seed: draws pages, and groups of two or three.
        margin, rivals: see `Margin`. A question in other words than its page's is a good one and BM25's score of
            the page is low for it, so more rivals are let pass than for questions made of the page's words.
        check: ask the endpoint whether the pages answer each question, and drop those they do not.
        replace: take the questions this model made before out of the dataset.
        skip_failed: finish without the pages whose requests were given up, instead of stopping.
        price_in, price_out: of a million tokens, to tell the cost.
    """

    kinds: tuple[str, ...] = KINDS
    per_kind: int = 1
    languages: tuple[str, ...] = ()
    pixels: int = 1_000_000
    max_tokens: int = 2000
    splits: tuple[str, ...] | None = None
    pages: int | None = None
    seed: int = 0
    margin: float = 0.1
    rivals: int = 10
    check: bool = False
    replace: bool = False
    skip_failed: bool = False
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        odd = [code for code in self.languages if not _LANGUAGE.fullmatch(code)]
        checks = (
            (bool(self.kinds), "no kind of question is named"),
            (not unknown, f"kind '{(unknown or [''])[0]}' is not one of {', '.join(KINDS)}"),
            (not odd, f"language '{(odd or [''])[0]}' is no two-letter code such as en or de"),
            (self.per_kind >= 1, f"per_kind must be at least 1, not {self.per_kind}"),
            (self.pixels >= 10_000, f"pixels must be at least 10,000, not {self.pixels}"),
            (self.max_tokens >= 100, f"max_tokens must be at least 100, not {self.max_tokens}"),
            (self.pages is None or self.pages >= 1, f"pages must be at least 1, not {self.pages}"),
            (0 <= self.margin < 1, f"margin must be at least 0 and below 1, not {self.margin}"),
            (self.rivals >= 0, f"rivals must be at least 0, not {self.rivals}"),
        )
        for good, message in checks:
            if not good:
                raise ConfigError(f"questions: {message}")

    @property
    def page_kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in PAGE_KINDS if kind in self.kinds)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One request: a page, or pages that follow each other."""

    pages: tuple[Page, ...]

    @property
    def is_group(self) -> bool:
        return len(self.pages) > 1

    def empty(self, kind: str) -> Candidate:
        return Candidate("", self.pages[0].document, tuple(page.page for page in self.pages), kind)


def model_questions(
    root: str | Path,
    endpoint: EndpointSettings,
    settings: ModelSettings | None = None,
    *,
    encoder: Encoder | None = None,
    progress: bool | None = None,
) -> QuestionsReport:
    """Let a model write questions about a dataset's pages, filter them, and put them into the dataset.

    Args:
        root: a folder written by ``sightline ingest``.
        endpoint: where the model is.
        settings: the defaults of `ModelSettings` otherwise.
        encoder: judges how many pages answer a question, from the page images, in place of BM25 over the text.
        progress: a bar; by default on a terminal.

    Raises:
        DataError: the dataset cannot be read or written, or another run is at work in it.
        EndpointError: nobody listens, the key or model is refused, or requests failed again and again. What was
            answered until then is kept.
    """
    settings = settings or ModelSettings()
    dataset = Dataset.load(root)
    splits, notes = usual_splits(dataset, settings.splits)
    pages = [
        page for page in wanted_pages(dataset, splits, settings.pages, settings.seed) if not page.duplicate_of
    ]
    work = _Work(dataset, endpoint, settings, encoder, progress)
    with store.writing(dataset.root):
        book = AnswerBook(dataset.root / FOLDER / f"answers-{_file_name(endpoint.model)}.jsonl")
        try:
            candidates, kept = run(work.do(_units(dataset, pages, settings), book))
            book.finish()
        finally:
            book.close()
    if work.unjudged:
        notes = (
            *notes,
            f"{work.unjudged:,} questions are about pages without text, where BM25 cannot tell rivals",
        )
    if work.given_up:
        notes = (*notes, f"{work.given_up:,} requests were given up; run it again to try them")
    origin = f"model:{endpoint.model}"
    rejected_file = write_rejected(dataset.root, f"model-{_file_name(endpoint.model)}", work.rejected)
    added = add_questions(
        dataset.root,
        [candidate.to_question(origin) for candidate in kept],
        replace_origin=origin if settings.replace else None,
        made_from={page.page_id: page.content_hash for page in dataset.pages},
    )
    return QuestionsReport(
        origin,
        len(pages),
        candidates,
        counts(item.kind for item in kept),
        counts(item.reason for item in work.rejected),
        rejected_file,
        added,
        notes,
        work.meter.facts(),
    )


def _file_name(model: str) -> str:
    """A model's name as part of a file name; two names never share one."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", model).strip("-.")[:60]
    return plain if plain == model else f"{plain}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def _units(dataset: Dataset, pages: Sequence[Page], settings: ModelSettings) -> list[_Unit]:
    """The requests to make, in the order of the pages."""
    units = [_Unit((page,)) for page in pages] if settings.page_kinds else []
    if MULTI_PAGE not in settings.kinds:
        return units
    wanted = {page.page_id for page in pages}
    for document in dataset.documents:
        end = -1  # of the last group: groups do not overlap
        for position, page in enumerate(document.pages):
            if page.page_id not in wanted or position <= end:
                continue
            size = 2 + hashlib.sha256(f"{settings.seed}:{page.page_id}".encode()).digest()[0] % 2
            group = document.pages[position : position + size]
            while any(
                after.page != before.page + 1 or after.duplicate_of for before, after in pairwise(group)
            ):
                group = group[:-1]
            if len(group) > 1:
                units.append(_Unit(tuple(group)))
                end = position + len(group) - 1
    return units


class _Work:
    """The stages of one run, with what they leave behind."""

    def __init__(
        self,
        dataset: Dataset,
        endpoint: EndpointSettings,
        settings: ModelSettings,
        encoder: Encoder | None,
        progress: bool | None,
    ) -> None:
        self.dataset = dataset
        self.endpoint = endpoint
        self.settings = settings
        self.encoder = encoder
        self.progress = progress
        self.meter = Meter(settings.price_in, settings.price_out)
        self.rejected: list[Rejected] = []
        self.unjudged = 0
        self.given_up = 0

    async def do(self, units: Sequence[_Unit], book: AnswerBook) -> tuple[int, list[Candidate]]:
        """How many questions the model wrote, and those that pass every filter."""
        async with Endpoint(self.endpoint) as endpoint:
            asker = Asker(endpoint, book, self.meter)
            made = await self._write(asker, units)
            kept = self._filter(made)
            if self.settings.check:
                kept = await self._check(asker, kept)
        return len(made), kept

    async def _write(self, asker: Asker, units: Sequence[_Unit]) -> list[Candidate]:
        async def work(unit: _Unit) -> list[Candidate] | Rejected:
            try:
                return await self._ask(asker, unit)
            except NoUseError as error:
                kind = MULTI_PAGE if unit.is_group else "page"
                return Rejected(unit.empty(kind), error.reason, str(error))

        with shown(self.meter, "Asking for questions", len(units), self.progress) as finished:
            results, given_up = await each(
                units, work, concurrency=self.endpoint.concurrency, finished=finished
            )
        self._allow(given_up, len(units))
        self.rejected += [result for result in results if isinstance(result, Rejected)]
        return [candidate for result in results if isinstance(result, list) for candidate in result]

    async def _ask(self, asker: Asker, unit: _Unit) -> list[Candidate]:
        settings = self.settings
        images = [self._image(page) for page in unit.pages]
        kinds = (MULTI_PAGE,) if unit.is_group else settings.page_kinds
        if unit.is_group:
            chat = ask_pages(images, settings.languages, settings.per_kind, settings.max_tokens)
        else:
            chat = ask_page(images[0], kinds, settings.languages, settings.per_kind, settings.max_tokens)
        written = await asker.read(
            chat, lambda text: read_questions(text, kinds, settings.languages, settings.per_kind)
        )
        numbers = tuple(page.page for page in unit.pages)
        return [
            Candidate(
                item.question, unit.pages[0].document, numbers, item.kind, item.language, answer=item.answer
            )
            for item in written
        ]

    def _filter(self, made: Sequence[Candidate]) -> list[Candidate]:
        settings, dataset = self.settings, self.dataset
        origin = f"model:{self.endpoint.model}"
        known = known_questions(dataset, but=origin if settings.replace else "")
        present = {item.id for item in dataset.all_questions} if not settings.replace else set()
        distinct = Distinct(known)
        chosen: dict[str, Candidate] = {}
        for candidate in made:
            name = candidate.to_question(origin).id
            if (wrong := check_wording(candidate)) is not None:
                self.rejected.append(wrong)
            elif name in chosen:
                self.rejected.append(Rejected(candidate, "likeness", f"like '{candidate.query}'"))
            elif (
                name not in present
                and (earlier := distinct.like(candidate.query, candidate.language)) is not None
            ):
                self.rejected.append(Rejected(candidate, "likeness", f"like '{earlier}'"))
            else:
                chosen[name] = candidate
        kept, common, self.unjudged = self._margin().apply(list(chosen.values()))
        self.rejected += common
        return kept

    def _margin(self) -> Margin:
        pages, settings = self.dataset.pages, self.settings
        if self.encoder is not None:
            from sightline.documents.generation.encoder_search import encoder_search

            search = encoder_search(self.encoder, self.dataset.corpus("image"), show_progress=self.progress)
            return Margin(search, lambda name: True, Groups(pages), settings.margin, settings.rivals)
        texts = {page.page_id: page.text for page in pages}
        return Margin(
            bm25_search(texts),
            lambda name: bool(texts[name]),
            Groups(pages),
            settings.margin,
            settings.rivals,
        )

    async def _check(self, asker: Asker, kept: Sequence[Candidate]) -> list[Candidate]:
        """Those that the endpoint can answer from their pages."""

        async def work(candidate: Candidate) -> Rejected | Candidate:
            images = [self._image(self.dataset.page(name)) for name in candidate.page_ids]
            chat = ask_check(images, candidate.query, self.settings.max_tokens)
            try:
                answerable, _ = await asker.read(chat, read_check)
            except NoUseError as error:
                return Rejected(candidate, "unchecked", f"{error.reason}: {error}")
            return (
                candidate if answerable else Rejected(candidate, "unanswerable", "its pages do not answer it")
            )

        with shown(self.meter, "Checking the answers", len(kept), self.progress) as finished:
            results, given_up = await each(
                kept, work, concurrency=self.endpoint.concurrency, finished=finished
            )
        self._allow(given_up, len(kept))
        self.rejected += [result for result in results if isinstance(result, Rejected)]
        return [result for result in results if isinstance(result, Candidate)]

    def _allow(self, given_up: Sequence[GivenUpError], total: int) -> None:
        self.given_up += len(given_up)
        if given_up and not self.settings.skip_failed:
            raise EndpointError(
                f"{len(given_up):,} of {total:,} requests were given up ({given_up[0]}); the other answers are kept,"
                " and nothing was added. Run it again to try them, or with --skip-failed to go on without them"
            )

    def _image(self, page: Page) -> PageImage:
        return PageImage(page.image, page.content_hash, self.settings.pixels)
