"""Every architecture with token vectors as a late-interaction model: loads, trains, saves, agrees with ST 6.2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder

from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from support.model_facts import ModelFact
from support.torchvision_folder import torchvision_folder
from support.zoo.architectures import ARCHITECTURES
from support.zoo.inputs import inputs_for
from support.zoo.oracle import token_vectors
from support.zoo.steps import batch_of, goes_down, pairs_of, sees

pytestmark = pytest.mark.models

LATE = {key: one for key, one in ARCHITECTURES.items() if one.bare and one.pooling}
ROWS = [(key, kind) for key, one in LATE.items() for kind in one.inputs]
TESTS = Path(__file__).resolve().parents[1]


def load(folder: Path, key: str, **options: bool) -> Encoder:
    images = {"backend": "pil"} if LATE[key].video else {}
    return Encoder.from_pretrained(folder, device="cpu", processor_kwargs=images, **options)


class Zoo:
    """``WORK/KEY/late``: a tiny model with a new projection, saved by Sightline; what both libraries read from it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._encoders: dict[str, Encoder] = {}

    def encoder(self, key: str) -> Encoder:
        """As it was before saving; shared, so not to be changed."""
        if key not in self._encoders:
            torch.manual_seed(0)
            self._encoders[key] = load(LATE[key].build(self.work / "bare" / key), key, multi_vector=True)
            self._encoders[key].save_pretrained(self.work / key / "late")
        return self._encoders[key]

    def again(self, key: str) -> Encoder:
        """A fresh one, read from what was saved."""
        self.encoder(key)
        return load(self.work / key / "late", key)

    def theirs(self, key: str) -> dict[str, np.ndarray]:
        together = [key]
        if not (self.work / key / "late.npz").exists() and LATE[key].video:
            together = [one.key for one in LATE.values() if one.video]
            for one in together:
                self.encoder(one)
            done = subprocess.run(
                [sys.executable, "-m", "support.zoo.oracle", torchvision_folder(), str(self.work), *together],
                capture_output=True, text=True, timeout=240, check=False, cwd=TESTS,
                env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-3_000:]
        elif not LATE[key].video:
            self.encoder(key)
            model = MultiVectorEncoder(str(self.work / key / "late"), device="cpu")
            np.savez(self.work / key / "late.npz", **token_vectors(model, LATE[key].inputs))
        error = self.work / key / "error.txt"
        assert not error.exists(), error.read_text()
        return dict(np.load(self.work / key / "late.npz"))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("late-zoo"))


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_loads_and_saves(key: str, kind: str, zoo: Zoo, model_fact: ModelFact) -> None:
    encoder, values = zoo.encoder(key), inputs_for(kind)
    assert encoder.multi_vector
    together = encoder.encode_document(values).tokens()
    alone = [encoder.encode_document([value]).tokens()[0] for value in values]
    again = zoo.again(key).encode_document(values).tokens()
    for one, single, reloaded in zip(together, alone, again, strict=True):
        assert one.shape[1] == encoder.embedding_dim
        assert len(one) > 1
        assert torch.isfinite(one).all()
        assert (one - single).abs().max() <= 1e-5
        assert torch.equal(one, reloaded)
    model_fact(LATE[key].name, kind, "loads", "saves", task="late interaction")


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_a_step_trains(key: str, kind: str, zoo: Zoo, model_fact: ModelFact) -> None:
    loss = InfoNCE(temperature=0.1, similarity="meanmaxsim")
    encoder = zoo.again(key)
    batch = batch_of(encoder, pairs_of(LATE[key].inputs, kind))
    gradients = goes_down(encoder, batch, loss)
    assert kind == "text" or sees(gradients), "nothing reaches the vision tower"
    model_fact(LATE[key].name, kind, "trains", task="late interaction")


@pytest.mark.parametrize(("key", "kind"), ROWS)
def test_agrees_with_sentence_transformers(key: str, kind: str, zoo: Zoo, model_fact: ModelFact) -> None:
    theirs = zoo.theirs(key)
    for number, one in enumerate(zoo.encoder(key).encode_document(inputs_for(kind)).tokens()):
        wanted = theirs[f"{kind}-{number}"]
        assert one.shape == wanted.shape
        assert np.abs(one.numpy() - wanted).max() <= 1e-5
    model_fact(LATE[key].name, kind, "agrees", task="late interaction")
