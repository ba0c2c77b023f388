"""Reranking pairs of mixed length: CrossEncoder.predict of Sentence Transformers, defaults, against Reranker.predict.

    python benchmarks/rerank.py [--pairs 2000] [--rounds 5] [--warmups 1]

Pairs are real text: queries of 5 to 20 words, passages of 5 to 400. The model has MiniLM's shape (6 layers, 384
wide, 12 heads), its tokenizer, and random weights; the scores of both sides are compared (1e-5).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import data
import numpy as np
from contest import Contestant, Work, contest

FOLDER = Path(tempfile.gettempdir()) / "sightline-benchmarks" / "minilm-reranker"
QUERY_WORDS = (5, 20)
LIMIT = 1e-5


def pairs(number: int) -> list[tuple[str, str]]:
    """The same pairs on every run."""
    queries = data.texts(number, lengths=QUERY_WORDS, seed=1)
    return list(zip(queries, data.texts(number), strict=True))


def build_model() -> Path:
    """A folder with a cross-encoder of MiniLM's shape, made once."""
    if (FOLDER / "model.safetensors").is_file():
        return FOLDER
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

    from sightline.demo.model import minilm_folder

    config = AutoConfig.from_pretrained(minilm_folder(), num_labels=1)
    torch.manual_seed(0)
    # Weights drawn wider than transformers does: the scores would lie so close together that a wrong one would pass.
    config.initializer_range = 0.06
    AutoTokenizer.from_pretrained(minilm_folder(), model_max_length=512).save_pretrained(FOLDER)
    BertForSequenceClassification(config).save_pretrained(FOLDER)
    return FOLDER


def theirs(number: int) -> Work:
    """CrossEncoder.predict as it comes."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(FOLDER), device="cpu")
    work = pairs(number)
    return lambda: _facts(model.predict(work), "theirs")


def ours(number: int) -> Work:
    """Reranker.predict as it comes."""
    from sightline.models.reranker import Reranker

    model = Reranker.from_pretrained(FOLDER, device="cpu")
    work = pairs(number)
    return lambda: _facts(model.predict(work), "ours")


def _facts(scores: np.ndarray, side: str) -> Mapping[str, Any]:
    np.save(FOLDER / f"{side}.npy", scores)
    return {"mean score": float(scores.mean()), "spread": float(scores.std())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    options = parser.parse_args()
    build_model()
    pairs(options.pairs)
    number = {"number": options.pairs}
    contest(
        "rerank",
        [
            Contestant("CrossEncoder.predict", theirs, number),
            Contestant("Reranker.predict", ours, number),
        ],
        rounds=options.rounds,
        warmups=options.warmups,
    )
    found, wanted = np.load(FOLDER / "ours.npy"), np.load(FOLDER / "theirs.npy")
    difference = float(np.abs(found - wanted).max())
    print(
        f"largest difference of a score: {difference:.1e} (limit {LIMIT:g}); scores spread by {wanted.std():.2f}"
    )
    if difference > LIMIT:
        raise SystemExit("the scores differ")


if __name__ == "__main__":
    main()
