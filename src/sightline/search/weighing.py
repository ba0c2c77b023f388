"""Choosing how a hybrid search fuses, by questions whose answers are known.

Shape letters: Q questions, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sightline.documents.dataset import Dataset
from sightline.errors import SearchIndexError
from sightline.evaluation.metrics import evaluate
from sightline.evaluation.significance import Interval, paired_bootstrap
from sightline.search.fusing import FUSIONS, Fusion
from sightline.search.searcher import Searcher

if TYPE_CHECKING:
    from sightline.search.matches import Match

FOLDS = 5
# Shares of the vectors' ranking; 0 and 1 are the search by words and by vectors alone.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class FusionChoice:
    """What came of `tune_fusion`.

    Attributes:
        fusion: what to search with: the best there was, or the one before where the best is not surely better.
        best: the best there was.
        scores: NDCG@10 over all questions, by (method, share of the vectors).
        gain: NDCG@10 that choosing brings over the fusion before, on documents it was not chosen by; with its interval.
        questions, documents: it was chosen by.
        split: whose questions.
    """

    fusion: Fusion
    best: Fusion
    scores: dict[tuple[str, float], float]
    gain: Interval
    questions: int
    documents: int
    split: str


def tune_fusion(
    searcher: Searcher, dataset: Dataset, *, split: str | None = None, methods: Sequence[str] = FUSIONS
) -> FusionChoice:
    """Choose method and weights of a hybrid search by the questions of a split.

    What choosing is worth is measured on documents that were not chosen by (five folds of documents, cross-fitted),
    and where that is not surely more than nothing, the searcher's own fusion stays. A model that was trained on these
    very questions finds their pages better than those of new ones, so that its vectors are given too much: hold some
    documents back (a validation split) where there are enough.

    Args:
        searcher: over an index that holds the pages of the questions.
        dataset: where the questions are.
        split: by default "validation" where the dataset has one, else "train"; never "test", which is to tell how good
            the result is.
        methods: of `Fusion`.

    Raises:
        SearchIndexError: the test split, questions of fewer than two documents, or pages that the index does not hold.
        DataError: no such split.
    """
    chosen = split or ("validation" if "validation" in dataset.splits else "train")
    if chosen == "test":
        raise SearchIndexError(
            "weights chosen by the test questions would make the test worthless; use others"
        )
    asked = dataset.questions(chosen)
    documents = [question.document for question in asked]
    names = sorted(set(documents))
    if len(names) < 2:
        raise SearchIndexError(
            f"choosing needs questions about at least 2 documents, split {chosen!r} has {len(names)}"
        )
    unknown = sorted(set(names) - set(searcher.index.documents))
    if unknown:
        raise SearchIndexError(f"this index does not hold {unknown[0]!r}, which questions are about")
    rankings = [searcher.rankings(question.query) for question in asked]
    relevant = {question.id: set(question.page_ids) for question in asked}
    before = searcher.fusion
    candidates = {
        (method, share): replace(before, method=method, weights=(share, 1 - share))
        for method in methods
        for share in SHARES
        # Alone, a ranking is the same however it is scored.
        if share not in (0.0, 1.0) or method == methods[0]
    }

    def per_question(fusion: Fusion) -> np.ndarray:
        run = {question.id: _fused(fusion, *pair, searcher) for question, pair in zip(asked, rankings)}
        found = evaluate(relevant, run, ["ndcg@10"])
        return np.array([found.per_query["ndcg@10"][question.id] for question in asked])

    scores_CQ = np.stack([per_question(fusion) for fusion in candidates.values()])
    keys = list(candidates)
    folds_Q = np.array([names.index(document) % min(FOLDS, len(names)) for document in documents])
    held_Q = np.zeros(len(asked))
    for fold in range(int(folds_Q.max()) + 1):
        away = folds_Q == fold
        held_Q[away] = scores_CQ[scores_CQ[:, ~away].mean(1).argmax(), away]
    gain = paired_bootstrap(per_question(before).tolist(), held_Q.tolist(), groups=documents)
    best = candidates[keys[int(scores_CQ.mean(1).argmax())]]
    return FusionChoice(
        fusion=best if gain.low > 0 else before,
        best=best,
        scores={key: float(score) for key, score in zip(keys, scores_CQ.mean(1))},
        gain=gain,
        questions=len(asked),
        documents=len(names),
        split=chosen,
    )


def _fused(fusion: Fusion, vector: list[Match], text: list[Match], searcher: Searcher) -> dict[str, float]:
    limit = searcher.depth
    ranked = fusion.fuse(vector, text, limit=limit, similarity=searcher.index.facts.similarity)
    # Places stand for scores, so that equal ones keep the order of the search.
    return {match.page_id: float(len(ranked) - place) for place, (match, _) in enumerate(ranked)}
