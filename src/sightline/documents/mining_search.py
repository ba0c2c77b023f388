"""The hard negatives of many questions: candidates by vectors, by words or by both fused, scored, filtered, chosen.

Questions go by a chunk at a time and documents a block at a time, so memory grows with neither.

Shape letters: Q questions of a chunk, K candidates per question, N documents, P pairs of a question and a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.documents.among_ranks import exchange, together
from sightline.documents.mining_rules import Mined, MiningRules, choose
from sightline.errors import ConfigError, DataError
from sightline.evaluation.bm25 import BM25
from sightline.evaluation.fusion import reciprocal_rank_fusion

if TYPE_CHECKING:
    import torch

    from sightline.models.reranker import Reranker
    from sightline.models.vector_store import Vectors
    from sightline.training.distributed import Ranks

# Questions that are searched together, and questions whose candidates a reranker scores before they are told.
QUESTIONS, RERANKED = 1024, 32


@dataclass(frozen=True)
class Asked:
    """Who is asked for what; documents by number.

    Attributes:
        names: of the questions; different ones.
        positives: right documents of each, at least one.
        same_N: equal for documents that show the same; one of them, the first, is searched.
    """

    names: Sequence[str]
    positives: Sequence[Sequence[int]]
    same_N: np.ndarray

    @cached_property
    def searched(self) -> np.ndarray:
        """Numbers of the documents that are searched, ascending."""
        return np.sort(np.unique(self.same_N, return_index=True)[1])

    @cached_property
    def most(self) -> int:
        """The largest number of different right documents of a question."""
        return max(len({int(self.same_N[number]) for number in right}) for right in self.positives)

    @cached_property
    def copies(self) -> list[list[int]]:
        """Documents that are searched and show the same as a right one of a question, without being one."""
        first = dict(zip(self.same_N[self.searched].tolist(), self.searched.tolist(), strict=True))
        found = []
        for right in self.positives:
            shown = {first[int(self.same_N[number])] for number in right}
            found.append(sorted(shown - set(right)))
        return found


@dataclass(frozen=True)
class ByVectors:
    """Candidates by a model's similarity.

    Attributes:
        queries: vectors of the questions.
        documents: vectors of the documents.
        similarity: ``Encoder.similarity_fn_name``.
        device: where to compare; by default where the vectors are.
    """

    queries: Vectors
    documents: Vectors
    similarity: str
    device: torch.device | str | None = None


class ByWords:
    """Candidates by BM25.

    Args:
        queries: texts of the questions.
        documents: texts of the documents; an empty one is never found.
    """

    def __init__(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        self.queries = queries
        # Ids count down, because that is how the index orders them: a position is the document's number.
        width = len(str(len(documents)))
        last = len(documents) - 1
        self._bm25 = BM25({f"{last - number:0{width}}": text for number, text in enumerate(documents)})

    def scores(self, question: int) -> np.ndarray:
        """(N,) float32."""
        return self._bm25.scores(self.queries[question])


@dataclass(frozen=True)
class Rescoring:
    """Candidates and right documents are scored again, and ordered, by a reranker.

    Attributes:
        reranker: gives one score per pair.
        queries: values of the questions.
        documents: values of the documents.

    Raises:
        ConfigError: a reranker that gives several scores.
    """

    reranker: Reranker
    queries: Sequence[Any]
    documents: Sequence[Any]

    def __post_init__(self) -> None:
        if self.reranker.num_labels != 1:
            raise ConfigError(
                f"the reranker gives {self.reranker.num_labels} scores per pair, so there is no order; use one with one"
            )

    def scores(self, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """(P,) float32 of questions and documents by number."""
        values = [(self.queries[question], self.documents[document]) for question, document in pairs]
        found = self.reranker.predict(values, show_progress=False)
        if not np.isfinite(found).all():
            bad = pairs[int(np.isfinite(found).argmin())]
            raise DataError(
                f"the reranker's score of question {bad[0]} with document {bad[1]} is not a number"
            )
        return found


@dataclass(frozen=True)
class Found:
    """Candidates of some questions, best first, before the reranker."""

    candidates_QK: np.ndarray
    scores_QK: np.ndarray
    positive_scores: list[list[float]]


@dataclass(frozen=True)
class Miner:
    """Mines all questions, chunk by chunk.

    Attributes:
        asked: questions and their right documents.
        rules: what is chosen.
        vectors, words: how candidates are found; one of them or both, which are then fused by reciprocal rank.
            Scores are those of the vectors where there are any.
        rescoring: the reranker, where there is one.
        ranks: processes that share the work: each searches some blocks of the documents by vectors, looks for the
            words of some questions, and rescores some of them. All end with what one finds alone, to the last bit.

    Raises:
        ConfigError: neither vectors nor words.
    """

    asked: Asked
    rules: MiningRules
    vectors: ByVectors | None = None
    words: ByWords | None = None
    rescoring: Rescoring | None = None
    ranks: Ranks | None = None

    def __post_init__(self) -> None:
        if self.vectors is None and self.words is None:
            raise ConfigError("negatives are found by a model or by BM25: give a model, or bm25=True")

    def run(self, done: int = 0) -> Iterator[list[Mined]]:
        """What was mined, chunk by chunk, in the order of the questions; the chunks depend on nothing but the data.

        Args:
            done: chunks to leave out, of an earlier run; the same on every rank.

        Raises:
            PeerError: another rank failed in it.
        """
        asked, count = self.asked, len(self.asked.names)
        window = self.rules.window(asked.most)
        depth = min(window + asked.most, len(asked.searched))
        size = QUESTIONS if self.rescoring is None else RERANKED
        number = 0
        for first in range(0, count, QUESTIONS):
            last = min(first + QUESTIONS, count)
            starts = range(first, last, size)[max(0, done - number) :]
            number += -(-(last - first) // size)
            if not starts:
                continue
            found = self._found(first, last, depth)
            for start, part in self._parts(found, first, starts, size):
                stop = start + len(part.candidates_QK)
                yield choose(
                    part.candidates_QK,
                    part.scores_QK,
                    asked.positives[start:stop],
                    part.positive_scores,
                    asked.copies[start:stop],
                    self.rules,
                    window,
                    asked.names[start:stop],
                )

    def _parts(
        self, found: Found, first: int, starts: Sequence[int], size: int
    ) -> Iterator[tuple[int, Found]]:
        """First question and candidates of each chunk, rescored where there is a reranker, by a rank each."""
        parts = [(start, _part(found, start - first, start - first + size)) for start in starts]
        if self.rescoring is None:
            yield from parts
            return
        rank, ranks = (0, 1) if self.ranks is None else (self.ranks.rank, self.ranks.size)
        for place in range(0, len(parts), ranks):
            own = None
            with together(self.ranks, "reranking"):
                if place + rank < len(parts):
                    start, part = parts[place + rank]
                    own = start, self._rescored(part, start, self.rescoring)
            yield from (one for one in exchange(self.ranks, own, "gathering scores") if one is not None)

    def _found(self, start: int, stop: int, depth: int) -> Found:
        by_words = None if self.words is None else self._shared_by_words(self.words, start, stop, depth)
        if self.vectors is None:
            assert by_words is not None
            return by_words
        found = self._by_vectors(self.vectors, start, stop, depth)
        return found if by_words is None else self._fused(self.vectors, found, by_words, start, depth)

    def _by_vectors(self, vectors: ByVectors, start: int, stop: int, depth: int) -> Found:
        from sightline.evaluation.streaming import search_stored

        right = self.asked.positives[start:stop]
        query_P = np.repeat(np.arange(start, stop), [len(one) for one in right])
        document_P = np.array([number for one in right for number in one], np.int64)
        with together(self.ranks, "comparing questions with their pages"):
            queries = vectors.queries.take(np.arange(start, stop))
            given = iter(self._pairs(vectors, query_P, document_P).tolist())
        rows = self.asked.searched
        top = search_stored(
            queries, vectors.documents, depth, rows=rows, similarity=vectors.similarity, device=vectors.device,
            ranks=self.ranks,
        )  # fmt: skip
        return Found(
            rows[top.indices.numpy()],
            top.scores.numpy(),
            [[next(given) for _ in one] for one in right],
        )

    def _pairs(self, vectors: ByVectors, query_P: np.ndarray, document_P: np.ndarray) -> np.ndarray:
        """(P,) similarities of questions and documents by number."""
        from sightline.evaluation.streaming import pair_scores

        numbers, place_P = np.unique(query_P, return_inverse=True)
        queries = vectors.queries.take(numbers)
        return pair_scores(queries, vectors.documents, place_P, document_P, similarity=vectors.similarity)

    def _shared_by_words(self, words: ByWords, start: int, stop: int, depth: int) -> Found:
        own = range(start, stop)
        with together(self.ranks, "searching by words"):
            if self.ranks is not None:
                own = own[self.ranks.share(len(own))]
            found = self._by_words(words, own.start, own.stop, depth)
        parts = exchange(self.ranks, found, "merging what was found")
        return Found(
            np.concatenate([one.candidates_QK for one in parts]),
            np.concatenate([one.scores_QK for one in parts]),
            [scores for one in parts for scores in one.positive_scores],
        )

    def _by_words(self, words: ByWords, start: int, stop: int, depth: int) -> Found:
        candidates_QK = np.full((stop - start, depth), -1, np.int64)
        scores_QK = np.full((stop - start, depth), -np.inf, np.float32)
        positive_scores = []
        rows = self.asked.searched
        for row, question in enumerate(range(start, stop)):
            scores_N = words.scores(question)
            matching = rows[scores_N[rows] > 0]
            best = matching[np.argsort(-scores_N[matching], kind="stable")][:depth]
            candidates_QK[row, : len(best)] = best
            scores_QK[row, : len(best)] = scores_N[best]
            positive_scores.append(scores_N[list(self.asked.positives[question])].tolist())
        return Found(candidates_QK, scores_QK, positive_scores)

    def _fused(self, vectors: ByVectors, found: Found, by_words: Found, start: int, depth: int) -> Found:
        """Both rankings as one; the scores of pages that only words have found are computed here."""
        candidates_QK = np.full((len(found.candidates_QK), depth), -1, np.int64)
        scores_QK = np.full(candidates_QK.shape, -np.inf, np.float32)
        for row, (near, worded) in enumerate(zip(found.candidates_QK, by_words.candidates_QK, strict=True)):
            fused = reciprocal_rank_fusion([near.tolist(), worded[worded >= 0].tolist()])[:depth]
            numbers = np.array([number for number, _ in fused], np.int64)
            candidates_QK[row, : len(numbers)] = numbers
            known = dict(zip(near.tolist(), found.scores_QK[row].tolist(), strict=True))
            scores_QK[row, : len(numbers)] = [known.get(number, -np.inf) for number in numbers.tolist()]
        row_P, place_P = np.nonzero((candidates_QK >= 0) & np.isneginf(scores_QK))
        with together(self.ranks, "comparing questions with the pages that their words have found"):
            scores_QK[row_P, place_P] = self._pairs(vectors, row_P + start, candidates_QK[row_P, place_P])
        return Found(candidates_QK, scores_QK, found.positive_scores)

    def _rescored(self, found: Found, start: int, rescoring: Rescoring) -> Found:
        pairs: list[tuple[int, int]] = []
        for row, candidates in enumerate(found.candidates_QK):
            question = start + row
            pairs += [(question, number) for number in candidates[candidates >= 0].tolist()]
            pairs += [(question, number) for number in self.asked.positives[question]]
        scores = iter(rescoring.scores(pairs).tolist())
        candidates_QK, scores_QK = (
            np.full_like(found.candidates_QK, -1),
            np.full_like(found.scores_QK, -np.inf),
        )
        positive_scores = []
        for row, candidates in enumerate(found.candidates_QK):
            numbers = candidates[candidates >= 0]
            own = np.array([next(scores) for _ in numbers], np.float32)
            order = np.argsort(-own, kind="stable")
            candidates_QK[row, : len(numbers)], scores_QK[row, : len(numbers)] = numbers[order], own[order]
            positive_scores.append([next(scores) for _ in self.asked.positives[start + row]])
        return Found(candidates_QK, scores_QK, positive_scores)


def _part(found: Found, start: int, stop: int) -> Found:
    return Found(
        found.candidates_QK[start:stop], found.scores_QK[start:stop], found.positive_scores[start:stop]
    )
