"""The report of results that were written before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sightline.documents.collection import ALL, open_exam
from sightline.errors import DataError
from sightline.evaluation.saved import read_results
from sightline.runs.outcome import Outcome
from sightline.runs.train import RESULTS


def saved_outcome(place: str | Path, *, dataset: str | Path | None = None) -> tuple[Outcome, str]:
    """What a run, an evaluation or a comparison found, as its file tells it.

    Args:
        place: a results.json, or the folder of a finished run.
        dataset: folder of the pages, for their pictures; by default the one that the results name.

    Returns:
        The outcome; and why it has no pictures of pages, empty where it has.

    Raises:
        DataError: there are no results, or they are damaged; or a dataset was named that is another one.
    """
    place = Path(place)
    saved = read_results(place / RESULTS if place.is_dir() else place)
    named = str(dataset or saved.facts.get("dataset", ""))
    thumbnail, why = None, ""
    try:
        thumbnail = _thumbnails(named, saved.facts)
    except DataError as error:
        if dataset is not None:
            raise
        why = str(error)
    outcome = Outcome(
        Path(named).name or saved.path.stem,
        saved.rows,
        saved.facts,
        thumbnail,
        saved.baseline,
        saved.background,
    )
    return outcome, why


def _thumbnails(folder: str, facts: Mapping[str, Any]) -> Callable[[str], Path | None]:
    """The pictures of the pages that were searched.

    Raises:
        DataError: the folder is not there, or holds other questions or pages.
    """
    if not folder or not Path(folder).is_dir():
        raise DataError(
            f"there is no folder of pages at {folder!r}" if folder else "the results name no folder"
        )
    split = facts.get("split")
    exam = open_exam(folder, split=None if split == ALL else split)
    if exam.fingerprint != facts.get("fingerprint"):
        raise DataError(f"{folder} holds other questions or pages than these results were measured with")
    return exam.thumbnail
