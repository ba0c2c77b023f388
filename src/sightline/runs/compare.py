"""Models measured side by side on one dataset: what `sightline eval` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError
from sightline.runs.evaluate import bm25_row, check_questions, check_views, default_views, encoder_row
from sightline.runs.outcome import Outcome
from sightline.runs.within import bm25_row_within, encoder_row_within

if TYPE_CHECKING:
    from rich.console import Console


def compare_models(
    models: Sequence[str],
    dataset: str | Path,
    *,
    split: str | None = "test",
    views: Sequence[str] | None = None,
    dims: Sequence[int] | None = None,
    bm25: bool = True,
    within_document: bool = False,
    device: str | None = None,
    console: Console | None = None,
) -> Outcome:
    """Measure each model on the questions of `split` over the pages of its documents.

    Args:
        models: folders or names on the Hub, in the order of the table; the last is the one it is about.
        dataset: folder made by ingest.
        split: None for all questions and pages.
        views: what of a page a model sees, one row each; by default the richest view each model takes.
        dims: embedding dimensions to measure besides the full one; all from one encoding.
        bm25: also measure BM25 over the text layer.
        within_document: search only the pages of the document a question is about.
        device: where the models run.
        console: where progress is told.

    Raises:
        DataError: the dataset has no questions there, or a model cannot take a view.
        ConfigError: an unknown view, or a dimension a model does not have.
        CheckpointError: a model cannot be loaded.
    """
    from sightline.documents.dataset import FIELDS, Dataset

    unknown = [view for view in views or () if view not in FIELDS]
    if unknown:
        raise ConfigError(f"fields {unknown[0]!r} is not one of {', '.join(FIELDS)}")
    opened = Dataset.load(dataset)
    facts = check_questions(opened, split)
    # After the checks: importing the encoder loads torch, and a wrong path should be told at once.
    from sightline.models.encoder import Encoder

    images = {page.page_id: Path(page.image) for page in opened.pages}
    outcome = Outcome(
        opened.root.name,
        [],
        {**facts, "models": list(models), "searched": "own document" if within_document else "all"},
        images.get,
    )
    for name in models:
        encoder = Encoder.from_pretrained(name, device=device)
        if dims and encoder.truncate_dim and max(dims) > encoder.truncate_dim:
            encoder.truncate_dim = None  # asked about more than the model cuts to by default
        seen: list[Any] = list(views or default_views(encoder))
        check_views(encoder, seen)
        for view in seen:
            if console is not None:
                console.print(f"measuring {name}, pages as {view} ...", markup=False, soft_wrap=True)
            measure = encoder_row_within if within_document else encoder_row
            outcome.rows.append(measure(encoder, opened, view, split, name=_label(name, models), dims=dims))
    if bm25:
        outcome.rows.insert(0, (bm25_row_within if within_document else bm25_row)(opened, split))
    return outcome


def _label(name: str, models: Sequence[str]) -> str:
    """The last part of a model's path, where that tells the models apart."""
    short = Path(name).name or name
    return short if sum((Path(other).name or other) == short for other in models) == 1 else name
