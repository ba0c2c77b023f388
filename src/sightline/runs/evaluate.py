"""An encoder, and BM25, on the questions of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.errors import DataError
from sightline.evaluation.results import SHOWN
from sightline.evaluation.rows import BASELINE, Row

if TYPE_CHECKING:
    from sightline.documents.dataset import Dataset, Fields
    from sightline.evaluation.retrieval import RetrievalEvaluator
    from sightline.models.encoder import Encoder
    from sightline.training.distributed import Ranks


_NEEDED: dict[Any, tuple[str, ...]] = {"text": ("text",), "image": ("image",), "both": ("text", "image")}


def check_questions(dataset: Dataset, split: str | None) -> dict[str, Any]:
    """Facts of what is going to be asked: dataset, split, counts.

    Raises:
        DataError: the dataset has no such split, or no questions in it.
    """
    questions = dataset.questions(split)
    if not questions:
        where = f"split '{split}' has" if split else "it has"
        raise DataError(
            f"{dataset.root}: {where} no questions to evaluate with; "
            "give a question file with `sightline ingest --questions FILE`"
        )
    return {
        "dataset": str(dataset.root),
        "split": split or "all",
        "questions": len(questions),
        "pages": len(dataset.corpus("text", split)),
        "documents": len({question.document for question in questions}),
    }


def bm25_row(dataset: Dataset, split: str | None, *, name: str = BASELINE) -> Row:
    """BM25 over the pages' text layer."""
    from sightline.evaluation.bm25 import BM25
    from sightline.evaluation.results import result_of_run

    corpus: Mapping[str, str] = dataset.corpus("text", split)
    queries = dataset.queries(split)
    result = result_of_run(
        queries, BM25(corpus).run(queries), dataset.relevant(split), corpus=corpus, facts={"system": "BM25"}
    )
    return Row(name, "text", result)


def evaluator_for(
    dataset: Dataset,
    fields: Fields,
    split: str | None,
    *,
    dims: Sequence[int] | None = None,
    keep: int = SHOWN,
    show_progress: bool | None = None,
) -> RetrievalEvaluator:
    """An evaluator of the questions of `split` against the pages of its documents, seen as `fields` says."""
    from sightline.evaluation.retrieval import RetrievalEvaluator

    return RetrievalEvaluator(
        query_values(dataset, split),
        page_values(dataset, fields, split),
        dataset.relevant(split),
        dims=usable_dims(dims),
        keep=keep,
        query_options={"show_progress": show_progress},
        document_options={"show_progress": show_progress},
    )


def query_values(dataset: Dataset, split: str | None) -> dict[str, Any]:
    """The questions of a split by their ids, said to be text: one that reads "logo.png" is no file."""
    return {key: {"text": query} for key, query in dataset.queries(split).items()}


def page_values(dataset: Dataset, fields: Fields, split: str | None) -> dict[str, Any]:
    """The pages of a split's documents by their ids, seen as `fields` says; text is said to be text."""
    corpus = dataset.corpus(fields, split)
    return {key: {"text": text} for key, text in corpus.items()} if fields == "text" else dict(corpus)


def encoder_row(
    encoder: Encoder,
    dataset: Dataset,
    fields: Fields,
    split: str | None,
    *,
    name: str,
    dims: Sequence[int] | None = None,
    keep: int = SHOWN,
    ranks: Ranks | None = None,
) -> Row:
    """`encoder` on the questions of `split`; every dimension comes from one encoding, which `ranks` share.

    The result keeps the first `keep` pages of each question.

    Raises:
        DataError: the model does not take what `fields` asks for.
    """
    check_views(encoder, [fields])
    result = evaluator_for(dataset, fields, split, dims=dims, keep=keep).evaluate(encoder, ranks)
    return Row(name, fields, result)


def check_views(encoder: Encoder, views: Sequence[Fields]) -> None:
    """Refuse views of a page that the encoder cannot take, before anything is computed.

    Raises:
        DataError: naming what the model takes and which `fields` would work.
    """
    for view in views:
        if not encoder.supports(_NEEDED[view]):
            good = [name for name, parts in _NEEDED.items() if encoder.supports(parts)]
            advice = " or ".join(f'fields "{name}"' for name in good) or "another model"
            together = " together" if len(_NEEDED[view]) > 1 else ""
            raise DataError(
                f"the model ({encoder.name_or_path}) takes {', '.join(encoder.modalities)}; it cannot see "
                f'pages as "{view}", which needs {" and ".join(_NEEDED[view])}{together}; use {advice}'
            )


def usable_dims(dims: Sequence[int] | None) -> list[int] | None:
    """Dimensions without repeats, widest first; None for the full width alone."""
    return sorted(set(dims), reverse=True) if dims else None


def default_views(encoder: Encoder) -> list[Any]:
    """The richest view of a page the encoder takes."""
    return [next(view for view in ("both", "image", "text") if encoder.supports(_NEEDED[view]))]
