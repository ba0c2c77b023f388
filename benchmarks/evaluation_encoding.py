"""A whole evaluation at seven dims, encoding included: real texts, all-MiniLM-L6-v2.

    python benchmarks/evaluation_encoding.py
    python benchmarks/evaluation_encoding.py --documents 100 --queries 50 --rounds 1

ST's side is `InformationRetrievalEvaluator`, once per dim with `truncate_dim`, each of which encodes queries and corpus
again; ours is one `RetrievalEvaluator` for all dims. The third contestant also measures every dim at float16, int8,
binary and binary with rescoring, search times included. Passages have 5 to 120 words; a query is a passage's beginning.
Metrics are compared when the clock has stopped; vectors differ by rounding, which may swap two documents.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import data
from contest import Contestant, Goal, Work, contest, goals
from encode import minilm

from evaluation import METRICS, kept

DIMS = (384, 256, 192, 128, 96, 64, 32)
PEER, OURS, MATRIX = "ST, once per dim", "Sightline", "Sightline, six precisions"
# A swap of two neighbours in the ranking of one query of 200.
SWAP = 1 / 200


def material(queries: int, documents: int) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    """Passages, and as queries the first words of some of them."""
    texts = data.texts(documents, lengths=(5, 120))
    corpus = {f"page{number:06d}": text for number, text in enumerate(texts)}
    asked = [docid for docid, text in corpus.items() if len(text.split()) >= 20][:queries]
    found = {f"q{docid}": " ".join(corpus[docid].split()[:8]) for docid in asked}
    # Without its beginning a passage is not found by the same words alone.
    corpus |= {docid: " ".join(corpus[docid].split()[8:]) for docid in asked}
    return found, corpus, {f"q{docid}": {docid} for docid in asked}


def ours(queries: int, documents: int, path: str, matrix: bool) -> Work:
    from sightline.evaluation.collection import Collection
    from sightline.evaluation.retrieval import RetrievalEvaluator
    from sightline.evaluation.storage import PRECISIONS
    from sightline.models.encoder import Encoder
    from sightline.runs.measure import Wanted, measure_encoder

    asked, corpus, relevant = material(queries, documents)
    encoder = Encoder.from_pretrained(minilm(), device="cpu")

    def work() -> dict[str, Any]:
        if matrix:
            judged = {qid: dict.fromkeys(gold, 1.0) for qid, gold in relevant.items()}
            parts = {docid: {"text": text} for docid, text in corpus.items()}
            exam = Collection("made", asked, parts, {"test": judged}).exam()
            wanted = Wanted(dims=DIMS, precisions=PRECISIONS)
            (row,) = measure_encoder(encoder, exam, "text", wanted, name="minilm")
            found = {
                f"ndcg@10 at {cell.storage.dim}": cell.scores["ndcg@10"]
                for cell in row.result.cells
                if cell.storage.precision == "float32"
            }
            return kept(found, path)
        result = RetrievalEvaluator(
            asked, corpus, relevant, dims=DIMS, metrics=[*METRICS], depth=10
        ).evaluate(encoder)
        return kept({f"{name} at {one}": result.by_dim[one][name] for one in DIMS for name in METRICS}, path)

    return work


def theirs(queries: int, documents: int, path: str) -> Work:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    asked, corpus, relevant = material(queries, documents)
    model = SentenceTransformer(str(minilm()), device="cpu")
    evaluators = {
        one: InformationRetrievalEvaluator(asked, corpus, relevant, truncate_dim=one, write_csv=False)
        for one in DIMS
    }

    def work() -> dict[str, Any]:
        facts = {}
        for one, evaluator in evaluators.items():
            found = evaluator(model)
            facts |= {f"{name} at {one}": float(found[theirs]) for name, theirs in METRICS.items()}
        return kept(facts, path)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    size = {"queries": chosen.queries, "documents": chosen.documents}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{number}.json" for number, name in enumerate((PEER, OURS, MATRIX))}
        outcomes = contest(
            "evaluation_encoding",
            [
                Contestant(PEER, theirs, size | {"path": paths[PEER]}, threads=chosen.threads),
                Contestant(OURS, ours, size | {"path": paths[OURS], "matrix": False}, threads=chosen.threads),
                Contestant(
                    MATRIX, ours, size | {"path": paths[MATRIX], "matrix": True}, threads=chosen.threads
                ),
            ],
            rounds=chosen.rounds,
        )
        found = {name: json.loads(Path(path).read_text(encoding="utf-8")) for name, path in paths.items()}
    goals(outcomes, [Goal(OURS, PEER, 5.0), Goal(MATRIX, PEER, 5.0)])
    worst = max(
        abs(value - found[PEER][name]) for side in (OURS, MATRIX) for name, value in found[side].items()
    )
    print(f"largest difference of a metric: {worst:.1e}")
    if worst > SWAP:
        raise SystemExit("the metrics do not agree")


if __name__ == "__main__":
    main()
