"""Mining hard negatives from given vectors: 2,000 queries against 50,000 documents, five negatives each.

    python benchmarks/mining.py
    python benchmarks/mining.py --documents 20000 --rounds 2
    python benchmarks/mining.py --margin        # also leaves out what scores within 5 % of the right document

ST's side is `mine_hard_negatives` on a model that returns the given vectors; ours is `mine_vectors`, in memory and from
a file of vectors as `sightline mine` keeps them. ST compares its 2,000 queries with all documents at once by default;
a second entry gives it blocks of 128 queries. Negatives and scores are compared when the clock has stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import Contestant, Work, contest
from torch import Tensor

NEGATIVES = 5
PEER, BLOCKS = "ST", "ST, 128 queries at a time"
OURS, STORED = "Sightline", "Sightline, from its file"


def vectors(queries: int, documents: int, dim: int) -> tuple[Tensor, Tensor]:
    """Queries near the first documents, whose neighbours are near too; all of unit length."""
    generator = torch.Generator().manual_seed(0)
    topics = torch.randn(documents // 50 + 1, dim, generator=generator)
    documents_ND = topics[torch.arange(documents) // 50] + torch.randn(documents, dim, generator=generator)
    queries_QD = documents_ND[:queries] + torch.randn(queries, dim, generator=generator)
    unit = torch.nn.functional.normalize
    return unit(queries_QD, dim=1), unit(documents_ND, dim=1)


def ours(queries: int, documents: int, dim: int, margin: float | None, path: str, stored: bool) -> Work:
    from sightline.documents.mining_columns import mine_vectors
    from sightline.documents.mining_rules import MiningRules
    from sightline.models.vector_store import GivenVectors, VectorFile, Vectors
    from sightline.types import Embeddings

    queries_QD, documents_ND = vectors(queries, documents, dim)
    asked: Vectors = GivenVectors(Embeddings(queries_QD))
    found: Vectors = GivenVectors(Embeddings(documents_ND))
    if stored:
        keys = [number.to_bytes(16, "big") for number in range(documents)]
        file = VectorFile(Path(path).with_suffix(".vectors"))
        for start in range(0, documents, 2048):
            file.add(keys[start : start + 2048], Embeddings(documents_ND[start : start + 2048]))
        found = file.vectors(keys)
        file.close()
    del documents_ND
    right = [[number] for number in range(queries)]
    rules = MiningRules(num_negatives=NEGATIVES, relative_margin=margin)

    def work() -> dict[str, Any]:
        mined = mine_vectors(asked, found, right, rules=rules)

        def write() -> int:
            rows = [[list(one.negatives), list(one.scores)] for one in mined]
            Path(path).write_text(json.dumps(rows), encoding="utf-8")
            return sum(len(one.negatives) for one in mined)

        return {"negatives": write}

    return work


def theirs(queries: int, documents: int, dim: int, margin: float | None, path: str, block: int) -> Work:
    from datasets import Dataset, disable_caching
    from sentence_transformers.util import cos_sim, mine_hard_negatives, pairwise_cos_sim

    disable_caching()
    queries_QD, documents_ND = (one.numpy() for one in vectors(queries, documents, dim))

    class Given:
        """Returns the vectors of the numbers that the texts are."""

        device = torch.device("cpu")

        def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
            return queries_QD  # in their order, all different

        def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
            return documents_ND

        def similarity(self, left: Any, right: Any) -> Tensor:
            return cos_sim(left, right)

        def similarity_pairwise(self, left: Any, right: Any) -> Tensor:
            return pairwise_cos_sim(left, right)

    texts = [str(number) for number in range(documents)]
    pairs = Dataset.from_dict({"q": [f"q{number}" for number in range(queries)], "d": texts[:queries]})
    model: Any = Given()

    def work() -> dict[str, Any]:
        rows = mine_hard_negatives(
            pairs, model, corpus=texts, num_negatives=NEGATIVES, relative_margin=margin, faiss_batch_size=block,
            output_format="labeled-list", output_scores=True, verbose=False,
        )  # fmt: skip

        def write() -> int:
            found = {row["q"]: [list(map(int, row["d"][1:])), row["scores"][1:]] for row in rows}
            mined = [found.get(f"q{number}", [[], []]) for number in range(queries)]
            Path(path).write_text(json.dumps(mined), encoding="utf-8")
            return sum(len(negatives) for negatives, _ in mined)

        return {"negatives": write}

    return work


def compared(found: dict[str, Any]) -> None:
    """Stops where a side has other negatives than the first; documents of equal scores may change places."""
    for name, rows in found.items():
        for number, ((negatives, scores), (wanted, expected)) in enumerate(
            zip(rows, found[PEER], strict=True)
        ):
            assert len(negatives) == len(wanted), (
                f"{name}, query {number}: {len(negatives)}, not {len(wanted)}"
            )
            assert np.allclose(scores, expected, atol=1e-6), (
                f"{name}, query {number}: {scores}, not {expected}"
            )
            for place, (one, other) in enumerate(zip(negatives, wanted, strict=True)):
                near = np.isclose(expected, expected[place], atol=1e-6).sum()
                assert one == other or near > 1, f"{name}, query {number}: {negatives}, not {wanted}"
    print("all negatives and scores agree")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--margin", action="store_true", help="relative_margin=0.05")
    chosen = parser.parse_args()
    shape = {
        "queries": chosen.queries,
        "documents": chosen.documents,
        "dim": chosen.dim,
        "margin": 0.05 if chosen.margin else None,
    }
    sides: dict[str, tuple[Any, dict[str, Any]]] = {
        PEER: (theirs, {"block": 16384}),
        BLOCKS: (theirs, {"block": 128}),
        OURS: (ours, {"stored": False}),
        STORED: (ours, {"stored": True}),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{number}.json") for number, name in enumerate(sides)}
        contest(
            "mining margin" if chosen.margin else "mining",
            [
                Contestant(name, setup, shape | more | {"path": paths[name]}, threads=chosen.threads)
                for name, (setup, more) in sides.items()
            ],
            rounds=chosen.rounds,
        )
        compared({name: json.loads(Path(path).read_text(encoding="utf-8")) for name, path in paths.items()})


if __name__ == "__main__":
    main()
