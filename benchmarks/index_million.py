"""Searching a million vectors of 256 dimensions: build time, latency, recall@10 against exact search, bytes.

    python benchmarks/index_million.py                                # 1,000,000, as `sightline index` chooses
    python benchmarks/index_million.py --pages 100000 --ann exact
    python benchmarks/index_million.py --precision int8

The vectors are the first 256 components of all-MiniLM-L6-v2's for 11,000 passages of 5 to 25 words out of real
documents (`data.py`), multiplied: each is a real one moved part of the way to one of its 16 nearest neighbours, plus a
quarter of the difference of two others, so that clusters, density and the shape of the cloud are those of real text.
The queries are the vectors of 1,000 further real passages, as they are: by the even ones the build chooses how much of
an index a search looks at (as it does by a dataset's questions), the odd ones are measured. What is true is found by
`evaluation.ranking.search_top_k`, which shares nothing with the index.

The build is `build_index`, by a model that only looks its vectors up: what is measured is writing, indexing and
choosing, not encoding.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import CACHE, texts

from sightline.evaluation.ranking import search_top_k
from sightline.evaluation.storage import hardware
from sightline.search.index import SearchIndex, build_index
from sightline.search.options import VectorOptions
from sightline.search.pages import PageRecord
from sightline.types import Embeddings

DIM, SEEDS, QUERIES, TOP = 256, 12_000, 1_000, 10
NEIGHBOURS, SPREAD = 16, 0.25
BLOCK = 50_000
DOCUMENT = 100  # pages of a document


class Lookup(torch.nn.Module):
    """An encoder that knows the vectors of pages whose text is their number."""

    name_or_path = "benchmarks/index_million"
    similarity_fn_name = "cosine"
    modalities = ("text",)
    trained_dims: tuple[int, ...] = ()
    truncate_dim: int | None = None
    embedding_dim = DIM
    multi_vector = False

    def __init__(self, vectors: np.ndarray, queries: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("head", torch.from_numpy(vectors[:1].copy()))
        self.vectors, self.queries = vectors, queries

    def supports(self, modality: str | Iterable[str]) -> bool:
        return ({modality} if isinstance(modality, str) else set(modality)) <= {"text"}

    def prompt_for(self, role: str | None) -> str | None:
        return None

    def encode_document(self, inputs: Any, **_: Any) -> Embeddings:
        rows = [int(value["text"]) for value in inputs]
        return Embeddings(torch.from_numpy(self.vectors[rows]))

    def encode_query(self, inputs: Any, **_: Any) -> Embeddings:
        return Embeddings(torch.from_numpy(self.queries[[int(value["text"]) for value in inputs]]))


def seeds() -> np.ndarray:
    """Unit vectors of real passages, kept in the system's folder for temporary files."""
    from sightline.demo.model import minilm_folder
    from sightline.models.encoder import Encoder

    kept = CACHE / f"index-million-{SEEDS}-{DIM}.npy"
    if not kept.is_file():
        encoder = Encoder.from_pretrained(minilm_folder(), device="cpu")
        found = encoder.encode(texts(SEEDS, lengths=(5, 25), seed=3), truncate_dim=DIM, normalize=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, found.numpy())
    vectors: np.ndarray = np.load(kept)
    return vectors


def made(real: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Blocks of unit vectors around the real ones."""
    random = np.random.default_rng(0)
    near = np.argsort(-(real @ real.T), axis=1)[:, 1 : NEIGHBOURS + 1]
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        one, other, third = random.integers(0, len(real), (3, size))
        towards = real[near[one, random.integers(0, NEIGHBOURS, size)]] - real[one]
        block = real[one] + random.random((size, 1), dtype=np.float32) * towards
        block += SPREAD * (real[other] - real[third])
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def prepare(work: Path, count: int) -> None:
    """Write the vectors and what is true of the queries."""
    real = seeds()
    real, queries = real[:-QUERIES], real[-QUERIES:]
    vectors = np.lib.format.open_memmap(work / "vectors.npy", mode="w+", dtype=np.float32, shape=(count, DIM))
    for number, block in enumerate(made(real, count)):
        vectors[number * BLOCK : number * BLOCK + len(block)] = block
    np.save(work / "truth.npy", search_top_k(torch.from_numpy(queries), vectors, TOP)[DIM].indices.numpy())


class Memory:
    """The process's own memory in megabytes, mapped files left out, watched from a thread."""

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) // 1024

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self.now())
            time.sleep(0.1)


def measured(
    index: SearchIndex, queries: np.ndarray, truth: np.ndarray, *, exact: bool = False
) -> dict[str, Any]:
    """Latency of one search after another, and how many of the true ten each finds."""
    index.nearest(queries[0], TOP, exact=exact)
    times, hits = [], 0
    for query, right in zip(queries, truth):
        begun = time.perf_counter()
        found = index.nearest(query, TOP, exact=exact)
        times.append((time.perf_counter() - begun) * 1e3)
        hits += len({match.position for match in found} & set(right.tolist()))
    low, high = np.percentile(times, [50, 95])
    return {"p50_ms": round(low, 2), "p95_ms": round(high, 2), "recall@10": round(hits / truth.size, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--ann", default="auto")
    parser.add_argument("--precision", default=None)
    parser.add_argument("--rescore", action="store_true")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--folder", type=Path, help="keep the index here")
    parser.add_argument(
        "--exact-too", action="store_true", help="time exact search of the same index as well"
    )
    options = parser.parse_args()

    real = seeds()
    queries = real[-QUERIES:]
    work = options.folder or Path(tempfile.mkdtemp(prefix="index-million-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        # In a process of its own, so that its memory is not taken for the build's.
        maker = multiprocessing.get_context("spawn").Process(target=prepare, args=(work, options.pages))
        maker.start()
        maker.join()
        vectors, truth = np.load(work / "vectors.npy", mmap_mode="r"), np.load(work / "truth.npy")
        records = [
            PageRecord(
                f"d{row // DOCUMENT}#p{row % DOCUMENT}", f"d{row // DOCUMENT}", row % DOCUMENT, str(row)
            )
            for row in range(options.pages)
        ]
        memory = Memory()
        before = memory.now()
        begun = time.perf_counter()
        index = build_index(
            work / "index",
            records,
            Lookup(vectors, queries),  # type: ignore[arg-type]
            questions=[str(row) for row in range(0, QUERIES, 2)],
            batch_size=4096,
            progress=False,
            vectors=VectorOptions(
                precision=options.precision, rescore=options.rescore, ann=options.ann, recall=options.recall
            ),
        )
        seconds = time.perf_counter() - begun
        result = {
            "pages": options.pages,
            "dimensions": DIM,
            "hardware": hardware(),
            "build_seconds": round(seconds, 1),
            "pages_per_second": round(options.pages / seconds),
            "peak_megabytes": memory.peak,
            "of_it_before_the_build": before,
            "vectors": index.facts.vectors,
            "megabytes_on_disk": sum(f.stat().st_size for f in (work / "index").rglob("*") if f.is_file())
            // 10**6,
            "search": measured(index, queries[1::2], truth[1::2]),
        }
        if options.exact_too:
            result["exact"] = measured(index, queries[1:100:2], truth[1:100:2], exact=True)
        print(json.dumps(result, indent=2))
    finally:
        if options.folder is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
