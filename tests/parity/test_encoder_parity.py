"""Vectors, and the gradients of the cached loss, equal those of Sentence Transformers 6.2 on files of either side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from sightline.demo.model import minilm_folder
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from support import st_oracle
from support.fixtures import TEXTS
from support.torchvision_folder import torchvision_folder

SENTENCES = [*TEXTS, "", "   ", "Ünïcödé — 東京 🙂", "long " * 300, "Table 3: revenue, 2019-2023 (EUR m)"]


def near(ours: np.ndarray, theirs: np.ndarray, limit: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= limit


# all-MiniLM-L6-v2


def test_minilm_both_ways(tmp_path: Path) -> None:
    folder = minilm_folder()  # says how to install it, and checks the sha256 of its weights
    ours, theirs = (
        Encoder.from_pretrained(folder, device="cpu"),
        SentenceTransformer(str(folder), device="cpu"),
    )
    wanted = theirs.encode(SENTENCES)
    near(ours.encode(SENTENCES).numpy(), wanted)
    near(ours.encode(SENTENCES, prompt="query: ").numpy(), theirs.encode(SENTENCES, prompt="query: "))
    near(ours.encode(SENTENCES, truncate_dim=64).numpy(), theirs.encode(SENTENCES, truncate_dim=64))
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    near(SentenceTransformer(str(tmp_path / "ours"), device="cpu").encode(SENTENCES), wanted)
    near(Encoder.from_pretrained(tmp_path / "theirs", device="cpu").encode(SENTENCES).numpy(), wanted)
    near(
        ours.similarity(ours.encode(TEXTS), ours.encode(TEXTS)).numpy(),
        theirs.similarity(theirs.encode(TEXTS), theirs.encode(TEXTS)).numpy(),
    )


# Bare checkpoints whose pooling both sides choose alike


@pytest.mark.parametrize("name", ["bert", "qwen3", "vit", "clip"])
def test_bare_checkpoints_both_ways(
    name: str,
    tiny: Callable[[str], Path],
    tiny_encoder: Callable[[str], Encoder],
    pictures: list[Image.Image],
    tmp_path: Path,
) -> None:
    ours, theirs = tiny_encoder(name), SentenceTransformer(str(tiny(name)), device="cpu")
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    they_read = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    we_read = Encoder.from_pretrained(tmp_path / "theirs", device="cpu")
    assert set(we_read.modalities) == set(ours.modalities) == set(theirs.modalities)
    for modality, values in (("text", TEXTS), ("image", pictures)):
        if ours.supports(modality):
            wanted = theirs.encode(values)
            near(ours.encode(values).numpy(), wanted)
            near(they_read.encode(values), wanted)
            near(we_read.encode(values).numpy(), wanted)


# Qwen3-VL, through the oracle


@pytest.fixture(scope="module")
def oracle(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the oracle wrote; see `st_oracle`."""
    work = tmp_path_factory.mktemp("oracle")
    (work / "bare").symlink_to(tiny("qwen3_vl"))
    limits = {"min_pixels": 32 * 32, "max_pixels": 96 * 96, "model_max_length": 64}
    Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", processor_kwargs=limits).save_pretrained(
        work / "ours"
    )
    done = subprocess.run(
        [sys.executable, st_oracle.__file__, torchvision_folder(), str(work)],
        capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return work


@pytest.fixture(scope="module")
def qwen(oracle: Path) -> Encoder:
    return Encoder.from_pretrained(oracle / "ours", device="cpu")


def backend(encoder: Encoder) -> str:
    """The way this process reads images: torchvision where it is installed."""
    images = encoder.backbones()[""].processor.processor.image_processor
    return "pil" if "Pil" in type(images).__name__ else "torchvision"


@pytest.mark.parametrize("name", st_oracle.inputs())
def test_qwen3_vl_that_we_saved_and_they_read(name: str, oracle: Path, qwen: Encoder) -> None:
    values, prompt = st_oracle.inputs()[name]
    wanted = np.load(oracle / f"ours-{backend(qwen)}.npz")[name]
    near(qwen.encode(values, prompt=prompt).numpy(), wanted)


def test_long_texts_and_large_images_were_cut(qwen: Encoder) -> None:
    """Else the tests above would not say that both sides cut alike."""
    tokenizer = qwen.backbones()[""].processor.tokenizer
    assert max(len(tokenizer(text)["input_ids"]) for text in st_oracle.TEXTS) > 64
    assert max(height * width for height, width in st_oracle.SIZES) > 96 * 96


@pytest.mark.parametrize("name", st_oracle.inputs())
def test_qwen3_vl_that_they_saved_and_we_read(name: str, oracle: Path) -> None:
    values, prompt = st_oracle.inputs()[name]
    encoder = Encoder.from_pretrained(oracle / "theirs", device="cpu", processor_kwargs={"backend": "pil"})
    near(encoder.encode(values, prompt=prompt).numpy(), np.load(oracle / "theirs-pil.npz")[name])


@pytest.mark.parametrize("name", st_oracle.inputs())
def test_qwen3_vl_where_both_read_images_through_torchvision(name: str, oracle: Path) -> None:
    ours, theirs = (np.load(oracle / f"{side}-torchvision.npz")[name] for side in ("sightline", "ours"))
    near(ours, theirs)


@pytest.mark.parametrize("kept", [0, 2, None])
def test_the_gradients_of_the_cached_loss_inside_matryoshka(kept: int | None, oracle: Path) -> None:
    encoder = Encoder.from_pretrained(
        oracle / "ours", device="cpu", processor_kwargs={"backend": "pil"}
    ).train()
    builder = BatchBuilder(
        preprocess=encoder.preprocessor,
        collate=encoder.collate,
        columns=choose_columns(("anchor", "positive")),
        modalities=encoder.modalities,
        limits=Limits(token_budget=60, max_items=1 if kept == 0 else None),
    )
    rows = [
        {"anchor": query, "positive": page}
        for query, page in zip(st_oracle.QUERIES, st_oracle.pictures(), strict=True)
    ]
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    loss = Matryoshka(InfoNCE(temperature=0.05), dims=st_oracle.MATRYOSHKA)
    parts = Step(kept=kept).run(encoder, batch, loss)
    wanted = load_file(oracle / "gradients.safetensors")
    assert abs(sum(parts.values()) - wanted.pop("loss").item()) <= 1e-5
    found = {
        name.removeprefix("parts.0.model."): value.grad
        for name, value in encoder.named_parameters()
        if value.grad is not None
    }
    assert found.keys() == wanted.keys()
    assert all(torch.isfinite(gradient).all() for gradient in wanted.values())
    for name, gradient in wanted.items():
        # Gradients reach 40 here, where float32 itself is no finer than 4e-6: beyond 1 the limit is relative.
        limit = 1e-5 * max(1.0, gradient.abs().max().item())
        assert (found[name] - gradient).abs().max().item() <= limit, name
