"""Evaluation from given vectors: 1,000 queries against 100,000 documents at seven dims, metrics included.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --documents 20000 --rounds 2

ST's side is `InformationRetrievalEvaluator`, once per dim with `truncate_dim`, on a model that returns the given
vectors; ours is `score_embeddings` with all dims at once. Both compute the same metrics, whose values are compared when
the clock has stopped. What ST's evaluator keeps of the texts is made before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from contest import Contestant, Goal, Work, contest, goals
from torch import Tensor

DIMS = (1024, 768, 512, 384, 256, 128, 64)
# Our name -> ST's.
METRICS = {
    "ndcg@10": "cosine_ndcg@10",
    "mrr@10": "cosine_mrr@10",
    "capped_map@100": "cosine_map@100",
    **{f"accuracy@{k}": f"cosine_accuracy@{k}" for k in (1, 3, 5, 10)},
    **{f"precision@{k}": f"cosine_precision@{k}" for k in (1, 3, 5, 10)},
    **{f"recall@{k}": f"cosine_recall@{k}" for k in (1, 3, 5, 10)},
}
PEER, OURS, DEEP = "ST, once per dim", "Sightline", "Sightline, 1,000 deep"


def vectors(queries: int, documents: int, dim: int) -> tuple[Tensor, Tensor]:
    """Queries near the first documents; lengths differ."""
    generator = torch.Generator().manual_seed(0)
    documents_ND = torch.randn(documents, dim, generator=generator)
    queries_QD = documents_ND[:queries] + 4 * torch.randn(queries, dim, generator=generator)
    return queries_QD, documents_ND


def names(queries: int, documents: int) -> tuple[list[str], list[str], dict[str, set[str]]]:
    """Ids, and two relevant documents per query, of which the second is not near it."""
    query_ids = [f"q{number}" for number in range(queries)]
    document_ids = [f"page{number:06d}" for number in range(documents)]
    relevant = {
        qid: {document_ids[number], document_ids[-1 - number]} for number, qid in enumerate(query_ids)
    }
    return query_ids, document_ids, relevant


def ours(queries: int, documents: int, dim: int, path: str, deep: bool) -> Work:
    from sightline.evaluation.retrieval import score_embeddings
    from sightline.types import Embeddings

    queries_QD, documents_ND = vectors(queries, documents, dim)
    query_ids, document_ids, relevant = names(queries, documents)
    # As the evaluator hands them over: by id descending.
    found, pages = Embeddings(queries_QD), Embeddings(documents_ND.flip(0))
    texts, ids = dict.fromkeys(query_ids, "a question"), document_ids[::-1]

    def work() -> dict[str, Any]:
        result = score_embeddings(
            texts,
            found,
            ids,
            pages,
            relevant,
            dims=dims(dim),
            metrics=[*METRICS, *(["map"] if deep else [])],
            depth=1000 if deep else 10,
        )
        return kept(
            {f"{name} at {one}": result.by_dim[one][name] for one in dims(dim) for name in METRICS}, path
        )

    return work


def theirs(queries: int, documents: int, dim: int, path: str) -> Work:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.util import cos_sim

    queries_QD, documents_ND = vectors(queries, documents, dim)
    query_ids, document_ids, relevant = names(queries, documents)

    class Card:
        def set_evaluation_metrics(self, *_: Any) -> None:
            pass

    class Given:
        """Returns the vectors of the numbers it is asked for, cut as `encode` cuts them."""

        similarity_fn_name = "cosine"
        model_card_data = Card()

        def similarity(self, left: Tensor, right: Tensor) -> Tensor:
            return cos_sim(left, right)

        def encode_query(self, numbers: Any, truncate_dim: int, **_: Any) -> Tensor:
            return queries_QD[numbers[0] : numbers[-1] + 1, :truncate_dim]

        def encode_document(self, numbers: Any, truncate_dim: int, **_: Any) -> Tensor:
            return documents_ND[numbers[0] : numbers[-1] + 1, :truncate_dim]

    evaluators = {
        one: InformationRetrievalEvaluator(
            {qid: number for number, qid in enumerate(query_ids)},
            {docid: number for number, docid in enumerate(document_ids)},
            relevant,
            truncate_dim=one,
            write_csv=False,
        )
        for one in dims(dim)
    }
    model: Any = Given()

    def work() -> dict[str, Any]:
        facts = {}
        for one, evaluator in evaluators.items():
            found = evaluator(model)
            facts |= {f"{name} at {one}": float(found[theirs]) for name, theirs in METRICS.items()}
        return kept(facts, path)

    return work


def kept(metrics: dict[str, float], path: str) -> dict[str, Any]:
    """All metrics to a file when the clock has stopped; one of them for the table."""

    def write() -> float:
        Path(path).write_text(json.dumps(metrics), encoding="utf-8")
        return next(iter(metrics.values()))

    return {next(iter(metrics)): write}


def dims(dim: int) -> tuple[int, ...]:
    return tuple(one for one in DIMS if one <= dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    shape = {"queries": chosen.queries, "documents": chosen.documents, "dim": chosen.dim}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{number}.json") for number, name in enumerate((PEER, OURS, DEEP))}
        outcomes = contest(
            "evaluation",
            [
                Contestant(PEER, theirs, shape | {"path": paths[PEER]}, threads=chosen.threads),
                Contestant(OURS, ours, shape | {"path": paths[OURS], "deep": False}, threads=chosen.threads),
                Contestant(DEEP, ours, shape | {"path": paths[DEEP], "deep": True}, threads=chosen.threads),
            ],
            rounds=chosen.rounds,
        )
        found = {name: json.loads(Path(path).read_text(encoding="utf-8")) for name, path in paths.items()}
    goals(outcomes, [Goal(OURS, PEER, 5.0), Goal(DEEP, PEER, 5.0)])
    for name, expected in found[PEER].items():
        for side in (OURS, DEEP):
            assert abs(found[side][name] - expected) < 1e-6, (
                f"{side}, {name}: {found[side][name]}, not {expected}"
            )
    print("all metrics agree")


if __name__ == "__main__":
    main()
