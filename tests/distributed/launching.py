"""Starts a script as several ranks, as torchrun would, and waits for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch.distributed import TCPStore

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ended:
    """How a rank ended."""

    code: int
    errors: str


def launch(
    script: str,
    ranks: int,
    *arguments: str,
    timeout: float = 240,
    environment: Mapping[str, str] | None = None,
) -> list[Ended]:
    """Runs ``tests/distributed/<script>`` as ``ranks`` processes; those still running after ``timeout`` fail.

    The store by which they meet is held here, on a port that is ours from the start, as torchrun does.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), *arguments],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | dict(environment or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        return [
            Ended(process.returncode, errors)
            for process in processes
            for _, errors in [process.communicate(timeout=timeout)]
        ]
    finally:
        for process in processes:
            process.kill()


def all_well(ended: list[Ended]) -> None:
    """Fails with the output of the ranks that did not end well."""
    bad = {rank: one for rank, one in enumerate(ended) if one.code}
    assert not bad, "\n".join(f"rank {rank}: {one.code}\n{one.errors}" for rank, one in bad.items())
