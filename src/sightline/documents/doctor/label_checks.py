"""Whether the labels of a table can be learnt from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from sightline.documents.doctor.contents import Contents
from sightline.documents.doctor.findings import Case, Drop

# Kinds of labels up to which they are told one by one; with more they are scores.
CLASSES = 20
# A class with a smaller share is rare.
RARE = 0.05


def check_labels(contents: Contents) -> Iterator[Case]:
    """Labels that are missing or no numbers, all the same, or of one kind mostly."""
    for column, labels in contents.labels.items():
        numbers: list[float] = []
        for number, label in labels:
            found = _numbers(label)
            if found is None:
                where = f"{contents.asked[number].name}, column {column!r}"
                yield Case("label-missing", where, f"{label!r:.60}", (Drop("question", number),))
            else:
                numbers.extend(found)
        yield from _balance(contents, column, numbers)


def _numbers(label: object) -> list[float] | None:
    """The number a label is, or those of a list; None where one is missing or none."""
    if isinstance(label, (list, tuple)):
        parts = [_numbers(one) for one in label]
        if not parts or any(part is None for part in parts):
            return None
        return [value for part in parts if part is not None for value in part]
    if isinstance(label, (int, float)) and math.isfinite(label):
        return [float(label)]
    return None


def _balance(contents: Contents, column: str, numbers: list[float]) -> Iterator[Case]:
    if not numbers:
        return
    where = f"column {column!r}"
    counts = Counter(numbers)
    if len(counts) == 1:
        yield Case("label-constant", where, f"every label is {numbers[0]:g}")
    elif len(counts) <= CLASSES:
        told = ", ".join(f"{label:g}: {count:,}" for label, count in sorted(counts.items()))
        rarest = min(counts.values()) / len(numbers)
        rare = f"; the rarest is {rarest:.1%} of them" if rarest < RARE else ""
        yield Case("label-balance", where, f"{told}{rare}")
    else:
        low, high = min(numbers), max(numbers)
        mean = sum(numbers) / len(numbers)
        message = f"{len(numbers):,} scores from {low:g} to {high:g}, {mean:.3g} on average"
        yield Case("label-balance", where, message)
