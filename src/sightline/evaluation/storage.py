"""What a search costs: how vectors are kept, what that takes per page, and how long one question takes.

A `Storage` is a way to keep the same vectors: a Matryoshka prefix at a precision. One encoding gives all of them.

    float32, float16   numbers, compared as they are
    int8               a whole number from -128 to 127 per dimension, between the least and the greatest value that the
                       corpus has there; compared with the question's float32 vector
    binary             the signs; compared with the question's signs (Hamming distance)
    binary+query       the signs; the best 400 are put into order by the question's float32 vector
                       (Yamada, Asai & Hajishirzi, "Efficient passage retrieval with hashing", ACL 2021)
    binary+int8        the signs, and int8 beside them, by which the best 400 are put into order
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sightline.errors import ConfigError
from sightline.evaluation.metrics import Result

PRECISIONS = ("float32", "float16", "int8", "binary", "binary+query", "binary+int8")
RESCORED = 400
"""Pages that a rescored search puts into order: the best by Hamming distance."""
MILLION = 1_000_000


@dataclass(frozen=True, order=True)
class Storage:
    """A way to keep vectors.

    Attributes:
        dim: leading components that are kept.
        precision: one of `PRECISIONS`.
    """

    dim: int
    precision: str = "float32"

    @property
    def bytes_per_vector(self) -> int:
        """Exact size of one vector; the ranges of int8, 8 bytes per dimension, are kept once per index."""
        bits = -(-self.dim // 8)
        return {
            "float32": 4 * self.dim,
            "float16": 2 * self.dim,
            "int8": self.dim,
            "binary": bits,
            "binary+query": bits,
            "binary+int8": bits + self.dim,
        }[self.precision]

    def __str__(self) -> str:
        return f"{self.dim} {self.precision}"


@dataclass(frozen=True)
class Cost:
    """What a system takes.

    Attributes:
        bytes_per_page: of the index; for token vectors the mean over the pages.
        ms_per_page: milliseconds to embed or index a page; None where that was not measured.
        ms_per_query: milliseconds to search one question, asked alone, its vector being there; None where that was
            not measured.
        pages: how many pages were searched meanwhile.
        hardware: what it was measured on.
    """

    bytes_per_page: float
    ms_per_page: float | None = None
    ms_per_query: float | None = None
    pages: int = 0
    hardware: str = ""

    @property
    def megabytes_per_million(self) -> float:
        """Megabytes (10**6 bytes) that a million pages take."""
        return self.bytes_per_page * MILLION / 10**6

    def to_json(self) -> dict[str, Any]:
        return {
            "bytes_per_page": self.bytes_per_page,
            "megabytes_per_million_pages": self.megabytes_per_million,
            "ms_per_page": self.ms_per_page,
            "ms_per_query": self.ms_per_query,
            "pages": self.pages,
            "hardware": self.hardware,
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> Cost:
        names = ("bytes_per_page", "ms_per_page", "ms_per_query", "pages", "hardware")
        return Cost(**{name: values[name] for name in names})


@dataclass(frozen=True)
class Cell:
    """One way to keep the vectors, and perhaps to rerank what they find, with what it gives and takes.

    Attributes:
        storage: how the vectors are kept.
        depth: pages that a reranker put into a new order; 0 for none.
        scores: metrics.
        cost: of keeping and searching them, reranking included.
    """

    storage: Storage
    scores: Result
    cost: Cost
    depth: int = 0

    @property
    def label(self) -> str:
        return f"{self.storage}, {self.depth} reranked" if self.depth else str(self.storage)


def storages(dims: Iterable[int], precisions: Sequence[str]) -> list[Storage]:
    """Every dimension at every precision, widest first.

    Raises:
        ConfigError: an unknown precision.
    """
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown:
        raise ConfigError(f"unknown precision '{unknown[0]}': use {', '.join(PRECISIONS)}")
    return [
        Storage(dim, name) for dim in sorted(set(dims), reverse=True) for name in dict.fromkeys(precisions)
    ]


@cache
def hardware(device: str = "cpu") -> str:
    """What a time was measured on: ``"AMD EPYC 7B13, 2 threads"`` or the name of the accelerator."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    if not device.startswith("cpu"):
        return device
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'' if threads == 1 else 's'}"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or os.uname().machine
