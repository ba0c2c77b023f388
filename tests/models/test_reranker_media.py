"""Rerankers over sound and video: on either side, in any company, trained, saved and read again.

That their scores are those of Sentence Transformers stands in tests/parity/test_video_parity.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from support.media_rerankers import MEDIA_RERANKERS
from support.model_facts import ModelFact
from support.video_oracle import TEXT_PAIRS, pairs
from support.zoo.steps import goes_down, pair_batch_of, reaches

pytestmark = pytest.mark.models


@pytest.mark.parametrize("head", ["answer", "pooled"])
@pytest.mark.parametrize("key", MEDIA_RERANKERS)
def test_pairs_of_sound_and_video(key: str, head: Any, tmp_path: Path, model_fact: ModelFact) -> None:
    expected = MEDIA_RERANKERS[key]
    reranker = expected.load(tmp_path / "bare", head=head)
    asked = pairs(reranker.modalities)
    together = reranker.predict(asked, activation=nn.Identity())
    alone = np.concatenate([reranker.predict([pair], activation=nn.Identity()) for pair in asked])
    apart = np.abs(together[:, None] - together[None]) + np.eye(len(together))
    assert apart.min() > 1e-4, "scores that hardly differ would agree whatever they are"
    assert np.abs(together - alone).max() <= 1e-5
    reranker.save_pretrained(tmp_path / "saved")
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.modalities == reranker.modalities
    assert np.abs(again.predict(asked, activation=nn.Identity()) - together).max() <= 1e-5
    for inputs in expected.inputs:
        model_fact(expected.name, inputs, "loads", "saves", task="reranking")


@pytest.mark.parametrize("key", MEDIA_RERANKERS)
def test_a_step_trains(key: str, tmp_path: Path, model_fact: ModelFact) -> None:
    expected, loss = MEDIA_RERANKERS[key], BinaryCrossEntropy()
    reranker = expected.load(tmp_path / "bare")
    texts, others = (
        pairs(reranker.modalities)[: len(TEXT_PAIRS)],
        pairs(reranker.modalities)[len(TEXT_PAIRS) :],
    )
    for given in (texts, others):
        rows = [{"query": q, "document": d, "label": float(n % 2)} for n, (q, d) in enumerate(given)]
        gradients = goes_down(reranker, pair_batch_of(reranker, rows, loss), loss)
        assert reaches(gradients, expected.tower) == (given is others)
    for inputs in expected.inputs:
        model_fact(expected.name, inputs, "trains", task="reranking")
