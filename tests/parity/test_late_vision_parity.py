"""A late-interaction Qwen3-VL equals ST's MultiVectorEncoder on the same files: texts, pages, both, and gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from support import st_late_oracle, st_oracle
from support.torchvision_folder import torchvision_folder


@pytest.fixture(scope="module")
def work(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the oracle wrote; see `st_late_oracle`."""
    folder = tmp_path_factory.mktemp("late-oracle")
    torch.manual_seed(0)
    limits = {"min_pixels": 32 * 32, "max_pixels": 96 * 96, "model_max_length": 64}
    encoder = Encoder.from_pretrained(
        tiny("qwen3_vl"),
        device="cpu",
        processor_kwargs=limits,
        multi_vector=True,
        prompts=st_late_oracle.PROMPTS,
    )
    encoder.save_pretrained(folder / "ours")
    done = subprocess.run(
        [sys.executable, st_late_oracle.__file__, torchvision_folder(), str(folder)],
        capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return folder


@pytest.mark.parametrize("saved_by", ["ours", "theirs"])
@pytest.mark.parametrize("name", st_late_oracle.inputs())
def test_the_same_token_vectors(name: str, saved_by: str, work: Path) -> None:
    encoder = Encoder.from_pretrained(work / saved_by, device="cpu", processor_kwargs={"backend": "pil"})
    role, values = st_late_oracle.inputs()[name]
    wanted = np.load(work / "ours.npz")
    found = encoder.encode(values, role=role).tokens()
    assert len(found) == len(values)
    for number, one in enumerate(found):
        other = wanted[f"{name}-{number}"]
        assert one.shape == other.shape
        assert np.abs(one.numpy() - other).max() <= 1e-5


@pytest.mark.parametrize("kept", [None, 0])
def test_the_gradients_of_pages_and_queries(kept: int | None, work: Path) -> None:
    encoder = Encoder.from_pretrained(work / "ours", device="cpu", processor_kwargs={"backend": "pil"})
    builder = BatchBuilder(
        encoder.preprocessor,
        encoder.collate,
        choose_columns(("anchor", "positive"), role_prompts=encoder.prompts),
        encoder.modalities,
        Limits(60),
    )
    rows = [
        {"anchor": query, "positive": page}
        for query, page in zip(st_oracle.QUERIES, st_oracle.pictures(), strict=True)
    ]
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    parts = Step(kept).run(encoder.eval(), batch, InfoNCE(temperature=1.0, similarity="maxsim"))
    wanted = load_file(work / "gradients.safetensors")
    assert abs(sum(parts.values()) - wanted.pop("loss").item()) <= 1e-5
    found = {
        name.removeprefix("parts."): value.grad
        for name, value in encoder.named_parameters()
        if value.grad is not None
    }
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        limit = 1e-5 * max(1.0, gradient.abs().max().item())
        assert (found[name] - gradient).abs().max().item() <= limit, name
