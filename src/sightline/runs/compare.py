"""Models measured side by side on one dataset: what `sightline eval` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError
from sightline.evaluation.storage import storages
from sightline.evaluation.views import check_views, default_views
from sightline.runs.evaluate import bm25_row
from sightline.runs.outcome import Outcome
from sightline.runs.tandem import DEPTHS
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
    precisions: Sequence[str] = ("float32",),
    bm25: bool = True,
    within_document: bool = False,
    reranker: str | None = None,
    rerank_depths: Sequence[int] = DEPTHS,
    device: str | None = None,
    console: Console | None = None,
) -> Outcome:
    """Measure each model on the questions of `split` over the pages of its documents.

    Args:
        models: folders or names on the Hub, in the order of the table; the last is the one it is about.
        dataset: folder made by ingest, or one in the layout of BEIR or ViDoRe.
        split: None for all questions and pages.
        views: what of a page a model sees, one row each; by default the richest view each model takes.
        dims: embedding dimensions to measure besides the full one; all from one encoding.
        precisions: at which to keep the vectors, see `sightline.evaluation.storage`; all from that encoding too.
        bm25: also measure BM25 over the text layer.
        within_document: search only the pages of the document a question is about.
        reranker: a model that puts the pages each model found into a new order, in rows of their own.
        rerank_depths: how many pages per question it reranks; a row each.
        device: where the models run.
        console: where progress is told.

    Raises:
        DataError: the dataset has no questions there, or a model cannot take a view.
        ConfigError: an unknown view or precision, a dimension a model does not have, a depth below 1, or a reranker
            or precisions with ``within_document``.
        CheckpointError: a model cannot be loaded.
    """
    from sightline.documents.collection import open_exam
    from sightline.documents.dataset import FIELDS

    if within_document and (reranker is not None or tuple(precisions) != ("float32",)):
        raise ConfigError(
            "a reranker and precisions are for what a search over all pages found; leave out within_document"
        )
    if not rerank_depths or min(rerank_depths) < 1:
        raise ConfigError(f"rerank depths {list(rerank_depths)}: give at least one, each at least 1")
    unknown = [view for view in views or () if view not in FIELDS]
    if unknown:
        raise ConfigError(f"fields {unknown[0]!r} is not one of {', '.join(FIELDS)}")
    storages((1,), precisions)
    exam = open_exam(dataset, split=split)
    # After the checks: importing the encoder loads torch, and a wrong path should be told at once.
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker
    from sightline.runs.measure import Wanted, measure_encoder

    def tell(line: str) -> None:
        if console is not None:
            console.print(line, markup=False, soft_wrap=True)

    wanted = Wanted(
        dims=dims,
        precisions=precisions,
        reranker=None if reranker is None else Reranker.from_pretrained(reranker, device=device),
        depths=rerank_depths,
        tell=tell,
    )
    searched = "own document" if within_document else "all"
    outcome = Outcome(
        Path(exam.name).name,
        [],
        {**exam.facts, "models": list(models), "searched": searched},
        exam.thumbnail,
    )
    for name in models:
        encoder = Encoder.from_pretrained(name, device=device)
        seen: list[Any] = list(views or default_views(encoder, exam))
        check_views(encoder, seen)
        for view in seen:
            tell(f"measuring {name}, pages as {view} ...")
            label = _label(name, models)
            if within_document:
                outcome.rows.append(encoder_row_within(encoder, exam, view, name=label, dims=dims))
            else:
                outcome.rows.extend(measure_encoder(encoder, exam, view, wanted, name=label))
    if bm25 and exam.has("text"):
        outcome.rows.insert(0, bm25_row_within(exam) if within_document else bm25_row(exam))
    return outcome


def _label(name: str, models: Sequence[str]) -> str:
    """The last part of a model's path, where that tells the models apart."""
    short = Path(name).name or name
    return short if sum((Path(other).name or other) == short for other in models) == 1 else name
