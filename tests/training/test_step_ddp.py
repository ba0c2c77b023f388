"""Two ranks: one reduction per accumulated step, whatever is kept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def test_gradients_under_ddp_are_the_mean_over_ranks() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "ddp_gradients.py")],
            env=environment | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(ranks):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, f"rank {rank}:\n{errors}"
