"""What a model is told and what it has to answer: questions of a page, of neighbouring pages, and the check."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.documents.generation.chat import Chat, PageImage
from sightline.errors import DataError

# Kinds of questions about one page, and what the model is told of each.
PAGE_KINDS = {
    "fact": "fact: asks for one fact that the text of the page states",
    "lookup": "lookup: asks for a value that has to be found in a table by its row and column",
    "chart": "chart: asks for something that is read from a chart, a diagram, a map or a photograph",
    "topic": "topic: a short query of two to eight words, as typed into a search box, for what the page is about",
}
MULTI_PAGE = "multi-page"
KINDS = (*PAGE_KINDS, MULTI_PAGE)

LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}

_RULES = """The questions are used to train and to test a search engine over many thousands of pages of many documents.
Write them as people would who look for this information, do not have the pages in front of them, and do not know \
that they exist:
- Name the thing that is asked about (organisation, product, place, year), so that the question can be understood \
without the pages, and so that few other pages answer it.
- Never mention a page, slide, figure or table, nor "the document", "the image", "the text" or "shown above".
- Use your own words where that is natural; do not copy whole sentences.
- Ask only what can be answered with certainty from what is to be seen. The answer is short.
- Leave a kind out where the pages offer nothing for it. For a blank page, a cover, a table of contents or a list of \
references, answer with an empty list."""
_SYSTEM = f"You see a page of a document and write questions that this page answers.\n{_RULES}"
_SYSTEM_MULTI = (
    "You see neighbouring pages of a document and write questions that need all of these pages together: no single "
    f"one of them is enough to answer.\n{_RULES}"
)
_SYSTEM_CHECK = (
    "You see one or more pages of a document and a question. Say whether the pages alone answer the question fully "
    "and with certainty, and give the answer in a few words (empty where they do not)."
)
_FENCE = re.compile(r"<think>.*?</think>", re.DOTALL)


class MalformedError(DataError):
    """An answer of the model that is not the JSON it was asked for; says what is wrong, for the model to mend."""


@dataclass(frozen=True, slots=True)
class Written:
    """A question as the model wrote it."""

    kind: str
    language: str
    question: str
    answer: str


def ask_page(
    image: PageImage, kinds: Sequence[str], languages: Sequence[str], per_kind: int, max_tokens: int
) -> Chat:
    """The request for questions about one page.

    Args:
        image: the page.
        kinds: of `PAGE_KINDS`.
        languages: ISO 639-1; empty for the language of the page.
        per_kind: the most questions of each kind, in each language.
        max_tokens: of the answer.
    """
    lines = [
        f"Write at most {per_kind} question{'s' * (per_kind > 1)} of each of these kinds{_in(languages)}:",
        *(f"- {PAGE_KINDS[kind]}" for kind in kinds),
        _SHAPE,
    ]
    return Chat(_SYSTEM, (image,), "\n".join(lines), "questions", _schema(kinds, languages), max_tokens)


def ask_pages(images: Sequence[PageImage], languages: Sequence[str], count: int, max_tokens: int) -> Chat:
    """The request for questions that need several neighbouring pages."""
    text = (
        f"These are {len(images)} pages that follow each other. Write at most {count} question{'s' * (count > 1)}"
        f'{_in(languages)}, of the kind "{MULTI_PAGE}". If no good question needs all of the pages, answer with an '
        f"empty list.\n{_SHAPE}"
    )
    schema = _schema((MULTI_PAGE,), languages)
    return Chat(_SYSTEM_MULTI, tuple(images), text, "questions", schema, max_tokens)


def ask_check(images: Sequence[PageImage], question: str, max_tokens: int) -> Chat:
    """The request whether pages answer a question."""
    text = (
        f"Question: {question}\n"
        'Answer with one JSON object and nothing else: {"answerable": true or false, "answer": "..."}'
    )
    return Chat(_SYSTEM_CHECK, tuple(images), text, "check", _CHECK_SCHEMA, max_tokens)


_SHAPE = (
    "Answer with one JSON object and nothing else:\n"
    '{"questions": [{"kind": "...", "language": "ISO 639-1 code", "question": "...", "answer": "..."}]}'
)
_CHECK_SCHEMA = {
    "type": "object",
    "properties": {"answerable": {"type": "boolean"}, "answer": {"type": "string"}},
    "required": ["answerable", "answer"],
    "additionalProperties": False,
}


def _in(languages: Sequence[str]) -> str:
    if not languages:
        return ", in the language of the document"
    names = [f"{LANGUAGES.get(code, code)} ({code})" for code in languages]
    return f", in {names[0]}" if len(names) == 1 else f" in each of {', '.join(names)}"


def _schema(kinds: Sequence[str], languages: Sequence[str]) -> dict[str, Any]:
    language: dict[str, Any] = {"type": "string"}
    if languages:
        language["enum"] = list(languages)
    item = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": list(kinds)},
            "language": language,
            "question": {"type": "string"},
            "answer": {"type": "string"},
        },
        "required": ["kind", "language", "question", "answer"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"questions": {"type": "array", "items": item}},
        "required": ["questions"],
        "additionalProperties": False,
    }


def read_questions(text: str, kinds: Sequence[str], languages: Sequence[str], per_kind: int) -> list[Written]:
    """The questions of an answer, at most ``per_kind`` of each kind and language.

    Raises:
        MalformedError: the answer is not what `ask_page` and `ask_pages` want.
    """
    body = _object(text)
    items = body.get("questions")
    if not isinstance(items, list):
        raise MalformedError('it has no list "questions"')
    found: list[Written] = []
    counted: Counter[tuple[str, str]] = Counter()
    for number, item in enumerate(items):
        where = f"questions[{number}]"
        if not isinstance(item, dict):
            raise MalformedError(f"{where} is not an object")
        kind = _text(item, "kind", where).casefold()
        language = _text(item, "language", where, empty=True).casefold()[:2]
        question, answer = _text(item, "question", where), _text(item, "answer", where, empty=True)
        if kind not in kinds:
            raise MalformedError(f'{where}.kind is "{kind}", not one of {", ".join(kinds)}')
        if languages and language not in languages:
            raise MalformedError(f'{where}.language is "{language}", not one of {", ".join(languages)}')
        counted[kind, language] += 1
        if counted[kind, language] <= per_kind:
            found.append(Written(kind, language, question, answer))
    return found


def read_check(text: str) -> tuple[bool, str]:
    """Whether the pages answer the question, and the answer.

    Raises:
        MalformedError: the answer is not what `ask_check` wants.
    """
    body = _object(text)
    if not isinstance(body.get("answerable"), bool):
        raise MalformedError('"answerable" is not true or false')
    return body["answerable"], _text(body, "answer", "the object", empty=True)


def complaint(problem: MalformedError) -> str:
    """What is said to the model, once, when its answer cannot be used."""
    return f"This cannot be used: {problem}. Answer again, with the one JSON object alone.\n"


def _object(text: str) -> dict[str, Any]:
    """The JSON object in an answer, which may have thoughts before it and a fence around it."""
    text = _FENCE.sub("", text)
    start = text.find("{")
    if start < 0:
        raise MalformedError("there is no JSON object in it")
    try:
        body, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"it is not JSON ({error})") from error
    if not isinstance(body, dict):
        raise MalformedError("it is not a JSON object")
    return body


def _text(item: dict[str, Any], name: str, where: str, *, empty: bool = False) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise MalformedError(f'{where} has no text "{name}"')
    value = " ".join("".join(c for c in value if c.isprintable() or c.isspace()).split())
    if not value and not empty:
        raise MalformedError(f'{where}: "{name}" is empty')
    return value
