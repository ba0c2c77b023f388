"""What a reranker of a run is given to put into order, and where that comes from."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.evaluation.metrics import Run
from sightline.runs.material import Material

if TYPE_CHECKING:
    from sightline.training.distributed import Ranks

# What the facts of a row call it.
FIRST_SEARCH = "first search"


@dataclass(frozen=True)
class FirstSearch:
    """The documents of each question before any reranking.

    Attributes:
        run: question id -> {document id: score}.
        told: whose they are, in words.
    """

    run: Run
    told: str


def first_search(
    material: Material,
    depth: int,
    *,
    retriever: str | None,
    device: str | None,
    seed: int,
    ranks: Ranks | None = None,
) -> FirstSearch:
    """The best documents a retriever finds, or those of `Material.first_search`.

    Args:
        material: what is asked and searched.
        depth: documents per question.
        retriever: folder or name of an embedding model.
        device: where it runs.
        seed: of what is drawn.
        ranks: all of them call it, share the work and are given the same.

    Raises:
        CheckpointError: there is no such model.
        DataError, InputError: the model cannot take what it would be shown.
    """
    if retriever is None:
        return FirstSearch(material.first_search(depth, seed=seed), material.first_search_told)
    return FirstSearch(_found(material, depth, retriever, device, ranks), f"the best of {retriever}")


def _found(material: Material, depth: int, retriever: str, device: str | None, ranks: Ranks | None) -> Run:
    from sightline.evaluation.retrieval import RetrievalEvaluator
    from sightline.models.encoder import Encoder

    with nullcontext() if ranks is None else ranks.together("loading the retriever"):
        encoder = Encoder.from_pretrained(retriever, device=device)
        material.check(encoder)
    asked = material.evaluator(material.views[0])
    options = asked.query_options, asked.document_options
    evaluator = RetrievalEvaluator(
        asked.queries, asked.corpus, asked.relevant, keep=depth,
        query_options=options[0], document_options=options[1],
    )  # fmt: skip
    return {qid: dict(found) for qid, found in evaluator.evaluate(encoder, ranks).top.items()}
