"""Every embedding architecture of docs/models.md on a tiny checkpoint: loads, trains, saves, agrees with ST 6.2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.modules.pooling import Pooling
from support.model_facts import ModelFact
from support.torchvision_folder import torchvision_folder
from support.zoo.architectures import ARCHITECTURES
from support.zoo.inputs import PROMPT, inputs_for
from support.zoo.oracle import vectors
from support.zoo.steps import batch_of, goes_down, pairs_of, sees

pytestmark = pytest.mark.models

ROWS = [(key, kind) for key, one in ARCHITECTURES.items() for kind in one.inputs]
TESTS = Path(__file__).resolve().parents[1]


class Zoo:
    """Tiny checkpoints and what both libraries make of them, each once.

    Attributes:
        work: ``KEY/bare`` is the checkpoint, ``KEY/ours`` what Sightline saved of it, ``KEY/theirs`` what ST saved.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self._encoders: dict[tuple[str, str], Encoder] = {}
        self._asked: set[str] = set()

    def folder(self, key: str, name: str) -> Path:
        folder = self.work / key / name
        if not folder.exists():
            if name == "bare":
                folder.parent.mkdir(parents=True)
                ARCHITECTURES[key].build(folder)
            else:
                assert name == "ours", "ST writes its own"
                self.encoder(key).save_pretrained(folder)
        return folder

    def encoder(self, key: str, name: str = "bare") -> Encoder:
        """The encoder of a folder, images through PIL; shared, so not to be changed."""
        if (key, name) not in self._encoders:
            self._encoders[key, name] = load(self.folder(key, name), key)
        return self._encoders[key, name]

    def theirs(self, key: str) -> tuple[dict[str, Any], dict[str, Any], Path]:
        """ST's vectors of ours, ST's vectors of the checkpoint, and the folder it saved that to."""
        folder = self.work / key
        if key not in self._asked:
            together = [one.key for one in ARCHITECTURES.values() if one.video] if self._video(key) else [key]
            for one in together:
                self.folder(one, "ours")
            (self._ask_oracle if self._video(key) else self._ask_here)(together)
            self._asked |= set(together)
        assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
        return dict(np.load(folder / "ours.npz")), dict(np.load(folder / "theirs.npz")), folder / "theirs"

    def _video(self, key: str) -> bool:
        return ARCHITECTURES[key].video

    def _ask_oracle(self, keys: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "support.zoo.oracle", torchvision_folder(), str(self.work), *keys],
            capture_output=True, text=True, timeout=240, check=False, cwd=TESTS,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3_000:]

    def _ask_here(self, keys: list[str]) -> None:
        for key in keys:
            kinds = ARCHITECTURES[key].inputs
            saved = SentenceTransformer(str(self.folder(key, "ours")), device="cpu")
            np.savez(self.work / key / "ours.npz", **vectors(saved, kinds))
            model = SentenceTransformer(str(self.folder(key, "bare")), device="cpu")
            np.savez(self.work / key / "theirs.npz", **vectors(model, kinds))
            model.save_pretrained(str(self.work / key / "theirs"))


def load(folder: Path, key: str) -> Encoder:
    # Both sides read images through PIL where only one of them has torchvision.
    options = {"backend": "pil"} if ARCHITECTURES[key].video else {}
    return Encoder.from_pretrained(folder, device="cpu", processor_kwargs=options)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


def apart(values: torch.Tensor) -> bool:
    """Whether every two vectors differ by far more than the tolerance of these tests."""
    distances = (values[:, None] - values[None]).abs().amax(-1)
    return bool((distances + torch.eye(len(values)) > 1e-3).all())


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_modalities_and_pooling_are_found(key: str, zoo: Zoo) -> None:
    expected, encoder = ARCHITECTURES[key], zoo.encoder(key)
    # Whether videos are taken depends on what is installed.
    found = tuple(name for name in encoder.modalities if not (expected.video and name == "video"))
    assert found == expected.modalities
    pooled = [part.modes for part in encoder.parts if isinstance(part, Pooling)]
    assert pooled == ([(expected.pooling,)] if expected.pooling else [])
    for kind in ("text", "image", "audio", "text+image", "message"):
        takes = kind in expected.inputs
        assert encoder.supports(kind.split("+") if "+" in kind else kind) == takes, kind


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_encodes(key: str, kind: str, zoo: Zoo, model_fact: ModelFact) -> None:
    encoder, values = zoo.encoder(key), inputs_for(kind)
    together = encoder.encode(values).values
    assert together.shape == (len(values), encoder.embedding_dim)
    assert torch.isfinite(together).all()
    assert apart(together)
    # Neighbours in the batch, and how it is padded, change nothing.
    alone = torch.cat([encoder.encode([value]).values for value in values])
    assert (together - alone).abs().max() <= 1e-5
    model_fact(ARCHITECTURES[key].name, kind, "loads", note=ARCHITECTURES[key].notes.get(kind, ""))


@pytest.mark.parametrize("key", [key for key, one in ARCHITECTURES.items() if "message" in one.inputs])
def test_texts_and_images_share_a_batch(key: str, zoo: Zoo) -> None:
    encoder = zoo.encoder(key)
    kinds = ("text", "image", "text+image", "message")
    mixed = encoder.encode([value for kind in kinds for value in inputs_for(kind)]).values
    apart_ = torch.cat([encoder.encode(inputs_for(kind)).values for kind in kinds])
    assert (mixed - apart_).abs().max() <= 1e-5


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_a_step_trains(key: str, kind: str, zoo: Zoo, model_fact: ModelFact) -> None:
    encoder = load(zoo.folder(key, "bare"), key)
    rows = pairs_of(ARCHITECTURES[key].inputs, kind)
    gradients = goes_down(encoder, batch_of(encoder, rows), InfoNCE(temperature=0.1))
    assert kind == "text" or sees(gradients), "nothing reaches the vision tower"
    model_fact(ARCHITECTURES[key].name, kind, "trains")


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_saved_and_reloaded_the_vectors_are_the_same(
    key: str, kind: str, zoo: Zoo, model_fact: ModelFact
) -> None:
    first, again = zoo.encoder(key), zoo.encoder(key, "ours")
    assert again.modalities == first.modalities
    assert torch.equal(first.encode(inputs_for(kind)).values, again.encode(inputs_for(kind)).values)
    model_fact(ARCHITECTURES[key].name, kind, "saves")


def near(ours: Any, theirs: Any) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_agrees_with_sentence_transformers(key: str, kind: str, zoo: Zoo, model_fact: ModelFact) -> None:
    values = inputs_for(kind)
    of_ours, of_bare, theirs = zoo.theirs(key)
    near(zoo.encoder(key).encode(values).numpy(), of_ours[kind])
    same: Callable[..., Any] = load(theirs, key).encode
    if kind not in ARCHITECTURES[key].notes:
        near(same(values).numpy(), of_bare[kind])
    if kind == "text":
        near(zoo.encoder(key).encode(values, prompt=PROMPT).numpy(), of_ours["prompted"])
        near(zoo.encoder(key).encode_query(values).numpy(), of_ours["query"])
    model_fact(ARCHITECTURES[key].name, kind, "agrees")
