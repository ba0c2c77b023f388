"""A lack of memory: recognised, undone, survived."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sightline.training.distributed import PeerError
from sightline.training.recovery import Undo, out_of_memory_in
from support import tiny_models

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        PeerError("rank 1 of 2 failed", rank=1, out_of_memory=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lack_of_memory_is_told_of(error: Exception) -> None:
    def fail() -> dict:
        raise error

    # oneDNN stays off once it has found no memory: here for this test, not for those behind it in this process.
    with torch.backends.mkldnn.flags(enabled=torch.backends.mkldnn.enabled):
        attempt = out_of_memory_in(fail)
    assert attempt.reason
    assert attempt.elsewhere == isinstance(error, PeerError)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("size mismatch"), PeerError("rank 1 failed", rank=1, out_of_memory=False), KeyError()],
)
def test_another_error_is_raised(error: Exception) -> None:
    def fail() -> dict:
        raise error

    with pytest.raises(type(error)):
        out_of_memory_in(fail)


def test_what_a_failed_step_held_is_free_when_it_is_told_of() -> None:
    freed = []

    class Graph:
        def __del__(self) -> None:
            freed.append(True)

    def fail() -> dict:
        graph = Graph()
        raise MemoryError(f"beside {graph!r}")

    out_of_memory_in(fail)
    assert freed


def test_gradients_are_taken_back(make_encoder: Callable) -> None:
    model = make_encoder()
    model.out[0].bias.grad = torch.full_like(model.out[0].bias, 2.0)
    undo = Undo.before(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.grad is None else parameter.grad.add_(1)
    undo.restore(model)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(found) == ["out.0.bias"]
    assert found["out.0.bias"].unique().tolist() == [2.0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' limit of a process's data")
def test_a_process_at_its_limit_ends_with_the_same_weights(tmp_path: Path) -> None:
    """The system refuses memory in the middle of a step; the run goes on and ends where it would have ended."""
    model = tiny_models.bert(tmp_path / "bert", dropout=0.0)

    def run(megabytes: int) -> str:
        weights = tmp_path / f"{megabytes}.safetensors"
        done = subprocess.run(
            [sys.executable, "-m", "training.short_of_memory", str(model), str(megabytes), str(weights)],
            cwd=TESTS, env=os.environ | {
                "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                # What is freed goes back to the system, whose limit counts addresses, not pages in use.
                "MALLOC_MMAP_THRESHOLD_": "65536",
            },
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Out of memory" not in run(0)
    assert "The step is done again" in run(40)
    free, limited = (load_file(tmp_path / f"{megabytes}.safetensors") for megabytes in (0, 40))
    torch.testing.assert_close(limited, free, atol=1e-5, rtol=1e-5)
