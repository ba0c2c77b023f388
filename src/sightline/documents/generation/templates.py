"""The ways to ask for a topic, a title, a row or a few words, by language; a language without its own gets the words.

A question is drawn from them by a number that depends on the seed and on the words, so that the same page
gives the same questions and a collection gets all the ways.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

Shape = Literal["topic", "claim", "title", "row", "words"]

# People type as many bare words as sentences; both are in each list.
_TEMPLATES: Mapping[str, Mapping[Shape, tuple[str, ...]]] = {
    "en": {
        "topic": (
            "{x}",
            "What is known about {x}?",
            "Where can I read about {x}?",
            "Tell me about {x}",
            "information on {x}",
            "What should I know about {x}?",
            "I am looking for details on {x}",
        ),
        "claim": (
            "{x}",
            "What shows that {x}?",
            "What is the evidence that {x}?",
            "findings: {x}",
        ),
        "title": (
            "{x}",
            "Where is {x} shown?",
            "{what} of {x}",
            "Which {what} shows {x}?",
            "Is there a {what} on {x}?",
        ),
        "row": (
            "{y}: {x}",
            "What is the value for {x} in {y}?",
            "{x} ({y})",
            "How high is {x} in {y}?",
            "Look up {x} under {y}",
        ),
        "words": ("{x}",),
    },
    "de": {
        "topic": (
            "{x}",
            "Was ist bekannt zum Thema {x}?",
            "Wo steht etwas zu: {x}?",
            "Informationen zum Thema {x}",
        ),
        "claim": ("{x}",),
        "title": ("{x}", "Wo wird gezeigt: {x}?", "Übersicht: {x}"),
        "row": ("{y}: {x}", "Welcher Wert steht bei {x} ({y})?", "{x} ({y})"),
        "words": ("{x}",),
    },
    "fr": {
        "topic": ("{x}", "Que sait-on sur : {x} ?", "Où trouver des informations sur : {x} ?"),
        "claim": ("{x}",),
        "title": ("{x}", "Où est présenté : {x} ?", "Vue d'ensemble : {x}"),
        "row": ("{y} : {x}", "Quelle est la valeur de {x} ({y}) ?", "{x} ({y})"),
        "words": ("{x}",),
    },
    "es": {
        "topic": ("{x}", "¿Qué se sabe sobre {x}?", "¿Dónde se explica {x}?", "información sobre {x}"),
        "claim": ("{x}",),
        "title": ("{x}", "¿Dónde se muestra {x}?", "resumen de {x}"),
        "row": ("{y}: {x}", "¿Qué valor tiene {x} en {y}?", "{x} ({y})"),
        "words": ("{x}",),
    },
}
_NEUTRAL: Mapping[Shape, tuple[str, ...]] = {
    "topic": ("{x}",),
    "claim": ("{x}",),
    "title": ("{x}",),
    "row": ("{y}: {x}", "{x} ({y})"),
    "words": ("{x}",),
}


def ask(shape: Shape, x: str, *, language: str, seed: int, y: str = "", what: str = "table") -> str:
    """A question of a shape.

    Args:
        shape: "topic" for a heading, "claim" for one that is a sentence, "title" for what a table or figure is
            called, "row" for a line of it, "words" for a few words.
        x: what is asked for.
        language: ISO 639-1.
        seed: another seed, another draw.
        y: the title of a row's table.
        what: what kind of thing has the title, in English.
    """
    ways = _TEMPLATES.get(language, _NEUTRAL)[shape]
    digest = hashlib.sha256(f"{seed}:{shape}:{x}:{y}".encode()).digest()
    question = ways[int.from_bytes(digest[:8], "big") % len(ways)].format(x=x, y=y, what=what)
    # A bare phrase stays as it is typed; a sentence that begins with the phrase gets its capital.
    return question[0].upper() + question[1:] if question.endswith("?") else question
