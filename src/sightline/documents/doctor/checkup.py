"""The whole checkup: everything is looked at once, and every check works on that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sightline.documents.doctor.contents import Contents
from sightline.documents.doctor.examined import Examined, examine
from sightline.documents.doctor.findings import Case, Diagnosis
from sightline.documents.doctor.label_checks import check_labels
from sightline.documents.doctor.leaks import check_leaks
from sightline.documents.doctor.memory import Memory
from sightline.documents.doctor.page_checks import check_pages
from sightline.documents.doctor.question_checks import check_negatives, check_questions


def check_contents(
    contents: Contents,
    *,
    known: Iterable[Case] = (),
    further: Iterable[Callable[[Examined], Iterable[Case]]] = (),
    workers: int | None = None,
    memory: Memory | None = None,
    tell: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Looks for everything that can be wrong.

    Args:
        contents: what is examined.
        known: what was found while it was read.
        further: checks beside those that fit any contents.
        workers, memory, tell: see `gallery.see`.
    """
    started = time.monotonic()
    examined = examine(contents, workers=workers, memory=memory, tell=tell)
    cases = [
        *known,
        *check_pages(examined),
        *check_questions(examined),
        *check_negatives(examined),
        *check_leaks(examined),
        *check_labels(contents),
    ]
    for check in further:
        cases += check(examined)
    return Diagnosis(contents.subject, tuple(cases), contents.counts(), time.monotonic() - started)
