"""Run as several ranks, or imported by the test that does the same in one process: mining in small pieces.

Arguments: a folder with datasets (``resumed``, ``command``, ``killed``), and the folders of an encoder and a reranker.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.documents import mining_search
from sightline.documents.mining import mine_negatives
from sightline.documents.mining_columns import mine_columns
from sightline.documents.mining_rules import MiningRules
from sightline.errors import ConfigError, TrainingError
from sightline.evaluation import streaming
from sightline.models import embedding_cache
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.distributed import ALONE, LostRankError, Ranks
from sightline.types import Embeddings
from support.adapted import stir

RULES = MiningRules(num_negatives=3)


class Encodes(Encoder):
    """Counts what it encoded."""

    encoded = 0

    def encode(self, inputs: Any, **options: Any) -> Embeddings:
        self.encoded += len(inputs)
        return super().encode(inputs, **options)


class Scores(Reranker):
    """Counts what it scored."""

    scored = 0

    def predict(self, pairs: Any, *args: Any, **options: Any) -> Any:
        self.scored += len(pairs)
        return super().predict(pairs, *args, **options)


@contextlib.contextmanager
def small_pieces() -> Iterator[None]:
    """So that a small dataset has several of each: chunks to embed, blocks to search, chunks to rescore."""
    defaults: dict[str, Any] = streaming.search_stored.__kwdefaults__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_cache, "TEXTS", 4)
        patch.setattr(mining_search, "QUESTIONS", 12)
        patch.setattr(mining_search, "RERANKED", 3)
        patch.setitem(defaults, "block_bytes", 5 * 4 * 32)  # five vectors of the tiny model
        yield


def columns(encoder: Encoder, ranks: Ranks = ALONE) -> list[dict[str, Any]]:
    anchors = [f"how many {word} are there" for word in ("pumps", "valves", "plants", "tables", "reports")]
    positives = [f"{number} of them" for number in range(5)]
    corpus = [f"the annual report of region {number}" for number in range(9)]
    found = mine_columns(anchors, positives, encoder, corpus=corpus, rules=RULES, ranks=ranks)
    return [asdict(one) for one in found.found]


class EndsEarlyError(Exception):
    """A run that ends early."""


def mine(pages: Path, encoder: Encoder, reranker: Reranker, ranks: Ranks = ALONE, *, until: int = 0) -> None:
    """Mines with all there is; ends by itself once so many questions are done."""

    def progress(stage: str, done: int, total: int) -> None:
        if until and stage == "Mining" and done >= until:
            raise EndsEarlyError

    mine_negatives(
        pages, encoder, bm25=True, reranker=reranker, rules=RULES, cache=pages.parent / f"{pages.name}-vectors",
        progress=progress, ranks=ranks,
    )  # fmt: skip


def command(pages: Path, model: Path) -> str:
    """What the command prints."""
    from sightline.cli.main import app

    with contextlib.redirect_stdout(io.StringIO()) as told:
        app(["mine", str(pages), "--model", str(model), "--device", "cpu", "-n", "3"], standalone_mode=False)
    return told.getvalue()


def main(work: Path, model: Path, reranker: Path) -> None:
    ranks = Ranks.of_launch()
    encoder, scores = (
        Encodes.from_pretrained(model, device="cpu"),
        Scores.from_pretrained(reranker, device="cpu"),
    )
    told: dict[str, Any] = {}

    other = Encoder.from_pretrained(model, device="cpu")
    if ranks.rank:
        stir(other, seed=1)
    with pytest.raises(ConfigError, match="differ in model; give all of them the same"):
        mine_negatives(work / "resumed", other, ranks=ranks)

    mine(work / "resumed", encoder, scores, ranks)
    told["encoded"], told["scored"] = encoder.encoded, scores.scored
    told["columns"] = columns(encoder, ranks)
    told["command"] = command(work / "command", model)
    failing = mine_failing(encoder, ranks)
    told["failure"] = f"{type(failing).__name__}: {failing}"
    (work / f"rank{ranks.rank}.json").write_text(json.dumps(told))

    try:
        mine(work / "killed", encoder, scores, ranks, until=9 * ranks.rank)
    except EndsEarlyError:
        os.kill(os.getpid(), signal.SIGKILL)
    except LostRankError as error:
        (work / "lost.txt").write_text(str(error))


def mine_failing(encoder: Encoder, ranks: Ranks) -> TrainingError | ValueError:
    """What each rank raises where the last one cannot read its vectors."""

    class Damaged:
        dim, multi_vector, tokens_n = 32, False, np.ones(40, np.int64)

        def take(self, items: Sequence[int]) -> Embeddings:
            if len(items) > 1 and ranks.rank == ranks.size - 1:
                raise ValueError("damaged")
            return encoder.encode([f"page {item}" for item in items], show_progress=False)

    miner = mining_search.Miner(
        mining_search.Asked(["q"], [[0]], np.arange(40)), RULES,
        mining_search.ByVectors(Damaged(), Damaged(), "cosine"), ranks=ranks,
    )  # fmt: skip
    with pytest.raises((TrainingError, ValueError)) as caught:
        list(miner.run())
    return caught.value


if __name__ == "__main__":
    with small_pieces():
        main(*map(Path, sys.argv[1:]))
