"""The same inputs for Sightline and for Sentence Transformers, also where each is a process of its own."""

from __future__ import annotations

from typing import Any

from support.fixtures import make_pictures

TEXTS = [
    "hello",
    "the annual report shows a table of operating costs",
    "a pump with valves and seals",
    "How many employees worked in the northern plants in 2019?",
]
# (height, width): square, wide, high, and smaller than a tile.
SIZES = ((64, 64), (40, 90), (200, 60), (20, 31))
PROMPT = "Find the page. "


def inputs_for(kind: str) -> list[Any]:
    """Values to encode: ``text``, ``image``, ``text+image`` or ``message``."""
    pictures = make_pictures(SIZES)
    if kind == "text":
        return list(TEXTS)
    if kind == "image":
        return list(pictures)
    if kind == "text+image":
        return [{"text": text, "image": picture} for text, picture in zip(TEXTS, pictures)]
    assert kind == "message", kind
    return [
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": pictures[0]},
                    {"type": "text", "text": "and"},
                    {"type": "image", "image": pictures[1]},
                    {"type": "text", "text": "a table of costs"},
                ],
            }
        ],
        [{"role": "user", "content": [{"type": "text", "text": "pumps and seals"}]}],
        [
            {"role": "system", "content": [{"type": "text", "text": "You look at pages."}]},
            {
                "role": "user",
                "content": [{"type": "image", "image": pictures[2]}, {"type": "text", "text": "a page"}],
            },
        ],
    ]


def pairs() -> list[Any]:
    """Queries and documents for a reranker, images on either side."""
    first, second, third, fourth = make_pictures(SIZES)
    return [
        ("costs", first),
        (second, "a page"),
        ("a", "a table"),
        ("costs of the plant", "a table of operating costs"),
        (third, fourth),
        ("like this", {"text": "page 3", "image": third}),
    ]
