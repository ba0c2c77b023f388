"""A small task that a tiny reranker learns: the right document names the query's topic."""

from __future__ import annotations

import random
from typing import Any

TOPICS = ("pump", "valve", "report", "table", "chart", "plant", "revenue", "employees")
WORDS = ("the", "of", "and", "with", "in", "by", "its", "a", "shows", "many", "page", "figure")


def document(topic: str, chance: random.Random) -> str:
    """Some words with the topic among them."""
    words = [chance.choice(WORDS) for _ in range(chance.randrange(2, 7))]
    words.insert(chance.randrange(len(words) + 1), topic)
    return " ".join(words)


def triplets(count: int, seed: int, *, topics: int = len(TOPICS), negatives: int = 3) -> list[dict[str, Any]]:
    """Rows of a query, its document, and documents on others of so many topics."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        topic, *others = chance.sample(TOPICS[:topics], 1 + negatives)
        row = {"query": f"{chance.choice(WORDS)} {topic}", "positive": document(topic, chance)}
        rows.append(row | {f"negative_{n}": document(other, chance) for n, other in enumerate(others)})
    return rows


def lists(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as lists of documents, of different lengths, with their labels."""
    found = []
    for number, row in enumerate(rows):
        documents = [value for name, value in row.items() if name != "query"][: 2 + number % 3]
        found.append(
            {"query": row["query"], "docs": documents, "labels": [1.0] + [0.0] * (len(documents) - 1)}
        )
    return found


def samples(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as an evaluator takes them."""
    return [
        {
            "query": row["query"],
            "positive": [row["positive"]],
            "negative": [value for name, value in row.items() if name.startswith("negative")],
        }
        for row in rows
    ]
