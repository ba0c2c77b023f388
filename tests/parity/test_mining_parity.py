"""Mining against sentence-transformers' `mine_hard_negatives`, on vectors that both are given."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
import torch
from sentence_transformers.util import cos_sim, mine_hard_negatives, pairwise_cos_sim

from sightline.documents.mining_columns import mine_vectors
from sightline.documents.mining_rules import MiningRules
from sightline.models.vector_store import GivenVectors
from sightline.types import Embeddings

QUERIES, DOCUMENTS, DIM = 60, 400, 16


def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """Queries near their document; many other documents are near, too."""
    generator = torch.Generator().manual_seed(3)
    documents = torch.randn(DOCUMENTS, DIM, generator=generator)
    queries = documents[:QUERIES] + 0.8 * torch.randn(QUERIES, DIM, generator=generator)
    unit = torch.nn.functional.normalize
    return unit(queries, dim=1), unit(documents, dim=1)


def pairs() -> list[tuple[int, int]]:
    """Query and document; every third query has a second document, the fifth a third one."""
    found = [(number, number) for number in range(QUERIES)]
    found += [(number, 100 + number) for number in range(0, QUERIES, 3)]
    return [*found, (5, 390)]


class Given:
    """Returns the vectors of the numbers that the texts are."""

    device = torch.device("cpu")

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return vectors()[0][[int(text) for text in texts]].numpy()

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        return vectors()[1][[int(text) for text in texts]].numpy()

    def similarity(self, left: Any, right: Any) -> torch.Tensor:
        return cos_sim(left, right)

    def similarity_pairwise(self, left: Any, right: Any) -> torch.Tensor:
        return pairwise_cos_sim(left, right)


def theirs(**options: Any) -> dict[str, list[tuple[str, float]]]:
    """Query -> negatives and their scores."""
    asked = pairs()
    dataset = datasets.Dataset.from_dict(
        {"q": [str(query) for query, _ in asked], "d": [str(document) for _, document in asked]}
    )
    corpus = [str(number) for number in range(DOCUMENTS)]
    rows = mine_hard_negatives(
        dataset, Given(), corpus=corpus, output_format="triplet", output_scores=True, verbose=False, **options
    )
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["q"], {})[row["negative"]] = row["scores"][1]
    return {query: list(negatives.items()) for query, negatives in found.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"num_negatives": 4},
        {"num_negatives": 3, "range_min": 5},
        {"num_negatives": 3, "range_min": 2, "range_max": 9},
        {"num_negatives": 5, "absolute_margin": 0.1},
        {"num_negatives": 5, "relative_margin": 0.05},
        {"num_negatives": 5, "relative_margin": 0.3, "absolute_margin": 0.2},
        {"num_negatives": 6, "max_score": 0.5},
        {"num_negatives": 6, "max_score": 0.6, "min_score": 0.45, "range_max": 60},
        {"num_negatives": 2, "range_max": 5000, "range_min": 350},
    ],
    ids=str,
)
def test_negatives_and_scores_are_the_same(options: dict[str, Any]) -> None:
    queries, documents = vectors()
    positives: list[list[int]] = [[] for _ in range(QUERIES)]
    for query, document in pairs():
        positives[query].append(document)
    rules = MiningRules(**({"relative_margin": None} | options))
    found = mine_vectors(
        GivenVectors(Embeddings(queries)), GivenVectors(Embeddings(documents)), positives, rules=rules
    )
    expected = theirs(**options)
    assert sum(map(len, expected.values())) > 0
    for number, mined in enumerate(found):
        wanted = expected.get(str(number), [])
        assert [str(negative) for negative in mined.negatives] == [negative for negative, _ in wanted]
        np.testing.assert_allclose(mined.scores, [score for _, score in wanted], atol=1e-6)
