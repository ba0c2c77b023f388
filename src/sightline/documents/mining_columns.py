"""Hard negatives for plain pairs of any modality: two columns of values, or vectors that are there already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.documents.among_ranks import from_main, together
from sightline.documents.mining_rules import Mined, MiningRules
from sightline.documents.mining_search import Asked, ByVectors, ByWords, Miner, Rescoring
from sightline.errors import DataError
from sightline.evaluation.bm25 import text_of

if TYPE_CHECKING:
    import torch

    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker
    from sightline.models.vector_store import Vectors
    from sightline.training.distributed import Ranks


@dataclass(frozen=True)
class MinedColumns:
    """What was mined for pairs.

    Attributes:
        queries: the distinct queries, in the order of their first pair.
        documents: the distinct documents, the corpus first and then the positives that are not in it.
        found: per query its positives and negatives, as numbers of documents.
    """

    queries: list[Any]
    documents: list[Any]
    found: list[Mined]

    def columns(self, num_negatives: int) -> dict[str, list[Any]]:
        """Columns ``anchor``, ``positive``, ``negative_1`` ... for the `Trainer`, a row per query and positive.

        Where fewer negatives were found the cells are None, which losses over documents pass over.
        """
        rows = [
            (query, positive, mined)
            for query, mined in zip(self.queries, self.found, strict=True)
            for positive in mined.positives
        ]
        columns: dict[str, list[Any]] = {
            "anchor": [query for query, _, _ in rows],
            "positive": [self.documents[positive] for _, positive, _ in rows],
        }
        for number in range(num_negatives):
            columns[f"negative_{number + 1}"] = [
                self.documents[mined.negatives[number]] if number < len(mined.negatives) else None
                for _, _, mined in rows
            ]
        return columns


def mine_columns(
    anchors: Sequence[Any],
    positives: Sequence[Any],
    encoder: Encoder | None = None,
    *,
    corpus: Iterable[Any] = (),
    bm25: bool = False,
    reranker: Reranker | None = None,
    rules: MiningRules | None = None,
    cache: str | Path | None = None,
    bf16: bool = False,
    ranks: Ranks | None = None,
) -> MinedColumns:
    """Finds hard negatives among the positives of other pairs and a further corpus.

    An anchor that stands in several pairs has several positives; what is equal counts once, by its content.

    Args:
        anchors, positives: the pairs, two columns of equal length; values as of `Encoder.encode`.
        encoder: finds candidates by its vectors.
        corpus: further documents.
        bm25: finds candidates by words, of documents that have text; fused with the encoder's where both are given.
        reranker: scores candidates and positives again.
        rules: what is chosen; by default `MiningRules()`.
        cache: folder of embeddings, to be used again; by default they are kept on the disk until this returns.
        bf16: as of `Encoder.encode`.
        ranks: processes that share the work, all of which call this with the same and get the same; with several
            machines, ``cache`` has to be a folder that all of them see.

    Raises:
        DataError: no pairs, or columns of different lengths.
        ConfigError: neither an encoder nor bm25.
        InputError: a value that the model does not take.
    """
    if len(anchors) != len(positives) or not len(anchors):
        raise DataError(f"{len(anchors)} anchors and {len(positives)} positives are no pairs")
    queries, query_of = distinct(anchors)
    documents, document_of = distinct([*corpus, *positives])
    right = right_documents(query_of, document_of[len(document_of) - len(positives) :], len(queries))
    with ExitStack() as stack:
        vectors = None
        if encoder is not None:
            from sightline.models.embedding_cache import CachedEncoder

            folder = cache or from_main(
                ranks,
                lambda: stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-mine-")),
                "making a folder",
            )
            cached = CachedEncoder(encoder, folder, bf16=bf16, peers=ranks)
            vectors = ByVectors(
                cached.encode_query(queries),
                cached.encode_document(documents),
                encoder.similarity_fn_name,
                encoder.device,
            )
        words = (
            ByWords([text_of(one) for one in queries], [text_of(one) for one in documents]) if bm25 else None
        )
        rescoring = None if reranker is None else Rescoring(reranker, queries, documents)
        asked = Asked([str(number) for number in range(len(queries))], right, np.arange(len(documents)))
        miner = Miner(asked, rules or MiningRules(), vectors, words, rescoring, ranks)
        found = [one for chunk in miner.run() for one in chunk]
        with together(ranks, "mining"):
            pass  # nobody deletes the folder while another reads in it
        return MinedColumns(queries, documents, found)


def mine_vectors(
    queries: Vectors,
    documents: Vectors,
    positives: Sequence[Sequence[int]],
    *,
    similarity: str = "cosine",
    rules: MiningRules | None = None,
    device: torch.device | str | None = None,
    ranks: Ranks | None = None,
) -> list[Mined]:
    """Finds hard negatives by vectors that are there already, in memory (`GivenVectors`) or on the disk.

    Args:
        queries, documents: the vectors.
        positives: numbers of the right documents of each query, at least one.
        similarity: as ``Encoder.similarity_fn_name``.
        rules: what is chosen; by default `MiningRules()`.
        device: where to compare.
        ranks: processes that share the work, all of which call this with the same and get the same.
    """
    count = len(documents.tokens_n)
    asked = Asked([str(number) for number in range(len(positives))], positives, np.arange(count))
    miner = Miner(
        asked, rules or MiningRules(), ByVectors(queries, documents, similarity, device), ranks=ranks
    )
    return [one for chunk in miner.run() for one in chunk]


def distinct(values: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The values that differ, in order, and for each value the number of its equal among them."""
    from sightline.inputs.parse import parse

    numbers: dict[Any, int] = {}
    kept: list[Any] = []
    places: list[int] = []
    for row, value in enumerate(values):
        # A text is its own key: reading a path in it is the model's matter.
        key = (True, value) if isinstance(value, str) else (False, parse(value, source=f"value {row}").key)
        place = numbers.setdefault(key, len(kept))
        if place == len(kept):
            kept.append(value)
        places.append(place)
    return kept, places


def right_documents(query_of: Sequence[int], document_of: Sequence[int], count: int) -> list[list[int]]:
    """The distinct positives of each query, in the order of the pairs."""
    found: list[dict[int, None]] = [{} for _ in range(count)]
    for query, document in zip(query_of, document_of, strict=True):
        found[query][document] = None
    return [list(one) for one in found]
