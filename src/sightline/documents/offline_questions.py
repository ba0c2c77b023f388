"""Questions from the pages' own words: headings, captions, tables, figure labels and key sentences; no model.

What they are good for is a start: a model learns which words of a collection mean which pages. They are marked
``origin="offline"``, and a person's questions, or a language model's, are better (see
`sightline.documents.model_questions`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from sightline.documents.adding import add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.generation import english
from sightline.documents.generation.candidates import (
    Candidate,
    QuestionsReport,
    Rejected,
    counts,
    write_rejected,
)
from sightline.documents.generation.filters import (
    Distinct,
    Groups,
    Margin,
    bm25_search,
    check_wording,
    known_questions,
)
from sightline.documents.generation.lines import (
    Furniture,
    Line,
    is_contents_page,
    is_reference_page,
    prose,
    read_lines,
)
from sightline.documents.generation.pages import usual_splits, wanted_pages
from sightline.documents.generation.phrases import Casing, Terms, clean_phrase, key_phrases
from sightline.documents.generation.sentences import key_sentences
from sightline.documents.generation.templates import ask
from sightline.documents.generation.topics import topics
from sightline.documents.generation.words import content_words, guess_language, word_set
from sightline.documents.records import Page
from sightline.errors import ConfigError

ORIGIN = "offline"
KINDS = ("heading", "caption", "table", "figure", "sentence")
_ROWS_PER_TITLE = 6
_BY_WORDS = 2  # sentences of a page that are asked for by their words
_LONG_TITLE = 22  # words; a longer caption is a paragraph, and asked for by its key words
# Titles that every document has.
_GENERIC = word_set(
    """introduction conclusion conclusions abstract contents references bibliography appendix acknowledgments
    acknowledgements acknowledgement summary overview notes note index glossary preface foreword background discussion
    results result methods method methodology figures tables disclaimer copyright about continued chapter section part
    executive general other others total example examples limitations definitions purpose scope objectives
    recommendations
    inhalt inhaltsverzeichnis einleitung zusammenfassung literatur anhang vorwort sommaire résumé annexe bibliographie
    índice resumen anexo bibliografía introducción conclusión introducción"""
)
# Labels of rows that say nothing alone.
_GENERIC_ROWS = word_set(
    """total totals sum subtotal other others all net n yes no none average mean median overall don't know dk tel fax
    phone telephone mobile email page pages date no nr number"""
)


@dataclass(frozen=True, slots=True)
class OfflineSettings:
    """How questions are made from text.

    Attributes:
        per_page: the most questions of a page.
        kinds: which of `KINDS`.
        seed: another seed asks in other words.
        splits: whose documents; None takes those where nobody's questions would be mixed with made ones, see
            `sightline.documents.generation.pages.usual_splits`.
        pages: look at this many pages, drawn by the seed; None for all.
        margin, rivals: see `Margin`.
    """

    per_page: int = 4
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    splits: tuple[str, ...] | None = None
    pages: int | None = None
    margin: float = 0.1
    rivals: int = 2

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        checks = (
            (self.per_page >= 1, f"per_page must be at least 1, not {self.per_page}"),
            (bool(self.kinds), "no kind of question is named"),
            (not unknown, f"kind '{(unknown or [''])[0]}' is not one of {', '.join(KINDS)}"),
            (self.pages is None or self.pages >= 1, f"pages must be at least 1, not {self.pages}"),
            (0 <= self.margin < 1, f"margin must be at least 0 and below 1, not {self.margin}"),
            (self.rivals >= 0, f"rivals must be at least 0, not {self.rivals}"),
        )
        for good, message in checks:
            if not good:
                raise ConfigError(f"questions: {message}")


def offline_questions(root: str | Path, settings: OfflineSettings | None = None) -> QuestionsReport:
    """Make questions from the text of a dataset's pages and put them into it.

    Those of an earlier run are replaced. The same dataset and settings give the same questions.

    Args:
        root: a folder written by ``sightline ingest``.
        settings: the defaults of `OfflineSettings` otherwise.

    Raises:
        DataError: the dataset cannot be read or written, or has no such split.
    """
    settings = settings or OfflineSettings()
    dataset = Dataset.load(root)
    splits, notes = usual_splits(dataset, settings.splits)
    pages = wanted_pages(dataset, splits, settings.pages, settings.seed)
    texts = {page.page_id: page.text for page in dataset.pages}
    maker = _Maker(dataset, settings)
    made = [candidate for page in pages for candidate in maker.of(page)]
    rejected: list[Rejected] = []
    worded = []
    for candidate in made:
        wrong = check_wording(candidate)
        rejected.extend([wrong] if wrong else [])
        worded.extend([] if wrong else [candidate])
    margin = Margin(
        bm25_search(texts),
        lambda name: bool(texts[name]),
        Groups(dataset.pages),
        settings.margin,
        settings.rivals,
    )
    standing, common, _ = margin.apply(worded)
    rejected.extend(common)
    chosen: list[Candidate] = []
    distinct = Distinct(known_questions(dataset, but=ORIGIN))
    for group in _by_page(standing):
        chosen.extend(_choose(group, settings, distinct, rejected))
    unread = sum(not page.text for page in pages)
    if unread:
        notes = (
            *notes,
            f"{unread:,} of {len(pages):,} pages have no text to make questions from (OCR gives them one)",
        )
    rejected_file = write_rejected(dataset.root, ORIGIN, rejected)
    added = add_questions(
        dataset.root,
        [candidate.to_question(ORIGIN) for candidate in chosen],
        replace_origin=ORIGIN,
        made_from={page.page_id: page.content_hash for page in dataset.pages},
    )
    return QuestionsReport(
        ORIGIN,
        len(pages),
        len(made),
        counts(item.kind for item in chosen),
        counts(item.reason for item in rejected),
        rejected_file,
        added,
        notes,
    )


def _by_page(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    groups: dict[tuple[str, tuple[int, ...]], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.document, candidate.pages), []).append(candidate)
    yield from groups.values()


def _choose(
    group: Sequence[Candidate], settings: OfflineSettings, distinct: Distinct, rejected: list[Rejected]
) -> list[Candidate]:
    """The questions a page keeps: the best of each kind in turn, none like another one."""
    by_kind = {kind: [item for item in group if item.kind == kind] for kind in settings.kinds}
    for items in by_kind.values():
        items.sort(key=lambda item: (-item.score, item.query))
    chosen: list[Candidate] = []
    for round_ in zip_longest(*by_kind.values()):
        for candidate in round_:
            if candidate is None:
                continue
            if len(chosen) == settings.per_page:
                rejected.append(Rejected(candidate, "limit", f"the page has {settings.per_page} questions"))
            elif (earlier := distinct.like(candidate.query, candidate.language)) is not None:
                rejected.append(Rejected(candidate, "likeness", f"like '{earlier}'"))
            else:
                chosen.append(candidate)
    return chosen


class _Maker:
    """Makes the candidates of each page, knowing the whole collection."""

    def __init__(self, dataset: Dataset, settings: OfflineSettings) -> None:
        self._settings = settings
        self._furniture = Furniture(dataset.documents)
        self._own = {
            page.page_id: self._furniture.without(page.document, page.text) for page in dataset.pages
        }
        bodies = ["\n".join(lines) for lines in self._own.values()]
        self._terms = Terms(bodies)
        self._casing = Casing(bodies)
        self._languages = _languages(dataset.pages)

    def of(self, page: Page) -> list[Candidate]:
        """Candidates of every kind, unfiltered."""
        own = self._own[page.page_id]
        if not page.text or page.duplicate_of or is_contents_page(own) or is_reference_page(own):
            return []
        language = page.language or guess_language(page.text, self._languages.get(page.document, ""))
        lines = read_lines(own)
        makers: dict[str, Callable[[list[Line], str], Iterator[tuple[str, str, float]]]] = {
            "heading": self._headings,
            "caption": self._titles,
            "sentence": self._sentences,
        }
        found = [item for make in makers.values() for item in make(lines, language)]
        found += self._rows(lines, language)
        return [
            Candidate(query, page.document, (page.page,), kind, language, score)
            for kind, query, score in dict.fromkeys(found)
            if kind in self._settings.kinds
        ]

    def _ask(self, shape: str, x: str, language: str, **more: str) -> str:
        return ask(shape, x, language=language, seed=self._settings.seed, **more)  # type: ignore[arg-type]

    def _headings(self, lines: list[Line], language: str) -> Iterator[tuple[str, str, float]]:
        for line in lines:
            text = clean_phrase(line.text)
            if line.role != "heading" or not self._tells(text, language):
                continue
            if language == "en" and english.is_step(text):
                continue
            score = self._terms.weight(text, language)
            if language == "en" and english.asks(text):
                yield "heading", text, score * 1.2
            elif language == "en" and (question := english.how_to(text)):
                yield "heading", question, score * 1.2
            elif language == "en" and (question := english.aim(self._casing.inside(text))):
                yield "heading", question, score
            else:
                inside = self._casing.inside(text)
                claim = language == "en" and english.is_claim(inside)
                yield "heading", self._ask("claim" if claim else "topic", inside, language), score

    def _titles(self, lines: list[Line], language: str) -> Iterator[tuple[str, str, float]]:
        for line in lines:
            if line.role == "caption" and (title := self._title(line, language)):
                kind = "table" if line.is_table else "caption"
                what = _thing(line.label)
                score = self._terms.weight(title, language)
                yield kind, self._ask("title", title, language, what=what), score

    def _title(self, line: Line, language: str) -> str:
        """A caption's first sentence as it stands inside one, or its key words; "" where it says too little."""
        first = clean_phrase(line.text.split(". ")[0])
        if len(first.split()) > _LONG_TITLE:
            first = " ".join(key_phrases(first, language, self._terms))
        return self._casing.inside(first) if self._tells(first, language) else ""

    def _rows(self, lines: list[Line], language: str) -> list[tuple[str, str, float]]:
        """Rows below a title, asked for with it; the title of a chart may be a heading."""
        found: list[tuple[str, str, float]] = []
        title, kind, left = "", "", 0
        for line in lines:
            if line.role == "caption":
                title, left = self._title(line, language), _ROWS_PER_TITLE
                kind = "table" if line.is_table else "figure"
            elif line.role == "heading":
                text = clean_phrase(line.text)
                told = self._tells(text, language) and len(text.split()) >= 3
                title, kind, left = self._casing.inside(text) if told else "", "figure", _ROWS_PER_TITLE
            elif line.role == "prose" and len(line.text.split()) > 8:
                left = 0
            elif line.role == "row" and title and left and self._names(line.text, language):
                label = self._casing.inside(clean_phrase(line.text))
                weight = self._terms.weight(f"{label} {title}", language)
                found.append((kind, self._ask("row", label, language, y=title), weight * 0.8))
                left -= 1
        return found

    def _sentences(self, lines: list[Line], language: str) -> Iterator[tuple[str, str, float]]:
        paragraphs = prose(lines)
        found = key_sentences(paragraphs, language, self._terms)
        on_page = Counter(word for text in paragraphs for word in content_words(text, language))
        by_words = 0
        for sentence, score in found:
            question = english.question_from(sentence, self._casing.first) if language == "en" else None
            if question is not None and english.is_telling(question, on_page):
                yield "sentence", question, score * 1.5
            elif by_words < _BY_WORDS and (words := self._words(sentence, language)):
                by_words += 1
                yield "sentence", words, score

    def _words(self, sentence: str, language: str) -> str:
        """A sentence asked for by what it is about; "" where that is too little."""
        if language != "en":
            phrases = key_phrases(sentence, language, self._terms)
            enough = sum(len(phrase.split()) for phrase in phrases) >= 3
            return self._ask("words", " ".join(phrases), language) if enough else ""
        first, _, rest = english.plain_sentence(sentence).partition(" ")
        best = sorted(
            topics(f"{self._casing.first(first)} {rest}", self._terms), key=lambda item: (-item[1], item[0])
        )
        if not best:
            return ""
        phrase, _ = best[0]
        if len(content_words(phrase, language)) >= 3:
            return self._ask("topic", phrase, language)
        return self._ask("words", f"{phrase}, {best[1][0]}", language) if len(best) > 1 else ""

    def _tells(self, text: str, language: str) -> bool:
        """Whether a title names something: more than a word that every document has."""
        own = [word for word in content_words(text, language) if word not in _GENERIC and not word.isdigit()]
        unspaced = not text.isascii() and " " not in text
        return len(text) >= 4 and (len(set(own)) >= 2 or (unspaced and len(own) >= 4))

    def _names(self, label: str, language: str) -> bool:
        own = [
            word
            for word in content_words(label, language)
            if word not in _GENERIC_ROWS and not word.isdigit()
        ]
        return any(len(word) > 2 for word in own)


def _thing(label: str) -> str:
    word = label.split()[0].casefold().rstrip(".")
    return {"fig": "figure", "tab": "table", "exhibit": "chart", "box": "overview", "plate": "picture"}.get(
        word, word
    )


def _languages(pages: Sequence[Page]) -> Mapping[str, str]:
    """A guess for each document, for pages whose language ingestion could not tell."""
    texts: dict[str, list[str]] = {}
    for page in pages:
        texts.setdefault(page.document, []).append(page.text)
    return {name: guess_language("\n".join(parts)) for name, parts in texts.items()}
