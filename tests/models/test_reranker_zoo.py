"""Rerankers out of vision-language and language models: asked for a word, pooled, trained, saved, agree with ST."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import CrossEncoder
from torch import nn

from sightline.checkpoint.language_heads import Head
from sightline.inputs.pairs import parse_pair
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from support import tiny_answers, tiny_rerankers
from support.model_facts import ModelFact
from support.tiny_rerankers import PAIRS
from support.torchvision_folder import torchvision_folder
from support.zoo import qwen, vision_language
from support.zoo.architectures import ARCHITECTURES
from support.zoo.inputs import pairs as asked
from support.zoo.steps import goes_down, pair_batch_of, sees

pytestmark = pytest.mark.models

BUILDERS = {
    builder.__name__: builder
    for builder in (
        qwen.qwen2_vl, qwen.qwen2_5_vl, qwen.qwen3_5, qwen.qwen3_vl, vision_language.idefics3,
        vision_language.smolvlm, vision_language.gemma3, vision_language.llava, vision_language.llava_onevision,
        vision_language.internvl,
    )
}  # fmt: skip
CLASSIFIERS = {"bert_scores": "BERT", "modernbert_scores": "ModernBERT", "qwen3_scores": "Qwen3"}
ANSWERS: dict[str, tuple[str, tuple[Head, ...]]] = {
    "gemma2_answers": ("Gemma 2", ("answer",)),
    "qwen3_answers": ("Qwen3", ("answer", "pooled")),
}
# What pairs of texts and images speak for in the table.
INPUTS = ("text", "text+image")
TEXT_ROWS = [
    {"query": "costs of the plant", "positive": "a table of operating costs", "negative": "a pump"},
    {"query": "seals", "positive": "a diagram of the pump with its seals", "negative": "revenue by region"},
]
# Their tokenizers know no yes and no; digits are words of every one.
OPTIONS = {"device": "cpu", "answers": ("1", "0"), "processor_kwargs": {"model_max_length": 4096}}


def log_odds(reranker: Reranker, pair: object) -> float:
    """As transformers computes it: all logits, of which two are taken at the last position."""
    features = reranker.preprocessor(parse_pair(pair, modalities=reranker.modalities)).values
    rows = {name: value.unsqueeze(0) if value.ndim == 1 else value for name, value in features.items()}
    normalization = reranker.backbone.processor.normalization
    if "pixel_values" in rows and normalization is not None:
        rows["pixel_values"] = normalization(rows["pixel_values"])
    yes, no = reranker.parts[1].answers
    with torch.no_grad():
        logits_V = reranker.backbone.model(**rows).logits[0, -1]
    return float(logits_V[yes] - logits_V[no])


@pytest.mark.parametrize("name", BUILDERS)
def test_a_vision_language_model_is_a_reranker(
    name: str, pictures: list[Image.Image], tmp_path: Path, model_fact: ModelFact
) -> None:
    folder = BUILDERS[name](tmp_path / "bare")
    pairs = [
        ("costs", pictures[0]), (pictures[1], "a page"), (pictures[0], pictures[3]),
        ("a", "a table"), ("costs of the plant", "a table of operating costs"),
    ]  # fmt: skip
    reranker = Reranker.from_pretrained(folder, **OPTIONS)
    assert {"text", "image"} <= set(reranker.modalities)
    wanted = np.array([log_odds(reranker, pair) for pair in pairs])
    found = reranker.predict(pairs, activation=nn.Identity())
    assert wanted.std() > 1e-3
    assert wanted[3:].std() > 1e-3
    assert np.abs(found - wanted).max() <= 1e-5
    reranker.save_pretrained(tmp_path / "saved")
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.abs(again.predict(pairs, activation=nn.Identity()) - found).max() <= 1e-6
    pooled = Reranker.from_pretrained(folder, head="pooled", **OPTIONS)
    assert np.abs(pooled.predict(pairs, activation=nn.Identity()) - found).max() <= 1e-5
    for inputs in INPUTS:
        model_fact(ARCHITECTURES[name].name, inputs, "loads", "saves", task="reranking")


@pytest.mark.parametrize("name", BUILDERS)
def test_a_step_trains(name: str, pictures: list[Image.Image], tmp_path: Path, model_fact: ModelFact) -> None:
    reranker, loss = (
        Reranker.from_pretrained(BUILDERS[name](tmp_path / "bare"), **OPTIONS),
        BinaryCrossEntropy(),
    )
    rows = [
        {"query": "costs", "positive": pictures[0], "negative": "a page"},
        {"query": pictures[1], "positive": "a table", "negative": pictures[2]},
    ]
    assert sees(goes_down(reranker, pair_batch_of(reranker, rows, loss), loss))
    assert not sees(goes_down(reranker, pair_batch_of(reranker, TEXT_ROWS, loss), loss))
    for inputs in INPUTS:
        model_fact(ARCHITECTURES[name].name, inputs, "trains", task="reranking")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_trains_a_classifier(name: str, tmp_path: Path, model_fact: ModelFact) -> None:
    reranker = Reranker.from_pretrained(getattr(tiny_rerankers, name)(tmp_path / "bare"), device="cpu")
    loss = BinaryCrossEntropy()
    goes_down(reranker, pair_batch_of(reranker, TEXT_ROWS, loss), loss)
    model_fact(CLASSIFIERS[name], "text", "trains", task="reranking")


@pytest.mark.parametrize("name", ANSWERS)
def test_a_language_model_is_a_reranker_of_texts(name: str, tmp_path: Path, model_fact: ModelFact) -> None:
    (architecture, heads), loss = ANSWERS[name], BinaryCrossEntropy()
    folder = getattr(tiny_answers, name)(tmp_path / "bare")
    for head in heads:
        reranker = Reranker.from_pretrained(folder, device="cpu", head=head)
        found = reranker.predict(PAIRS, activation=nn.Identity())
        assert found.std() > 1e-2
        reranker.save_pretrained(tmp_path / head)
        again = Reranker.from_pretrained(tmp_path / head, device="cpu")
        assert np.abs(again.predict(PAIRS, activation=nn.Identity()) - found).max() <= 1e-6
        theirs = CrossEncoder(str(tmp_path / head), device="cpu")
        assert np.abs(theirs.predict(PAIRS, activation_fn=nn.Identity()) - found).max() <= 1e-5
        goes_down(reranker, pair_batch_of(reranker, TEXT_ROWS, loss), loss)
    model_fact(architecture, "text", "loads", "trains", "saves", "agrees", task="reranking")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``NAME/rerank``, saved by Sightline, and the scores ST reads from it; see `support.zoo.oracle`."""
    folder = tmp_path_factory.mktemp("rerank")
    for name, build in BUILDERS.items():
        Reranker.from_pretrained(build(folder / "bare" / name), **OPTIONS).save_pretrained(
            folder / name / "rerank"
        )
    done = subprocess.run(
        [sys.executable, "-m", "support.zoo.oracle", torchvision_folder(), str(folder), *BUILDERS],
        capture_output=True, text=True, timeout=240, check=False, cwd=Path(__file__).resolve().parents[1],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return folder


@pytest.mark.parametrize("name", BUILDERS)
def test_agrees_with_sentence_transformers(name: str, work: Path, model_fact: ModelFact) -> None:
    error = work / name / "error.txt"
    assert not error.exists(), error.read_text()
    reranker = Reranker.from_pretrained(
        work / name / "rerank", device="cpu", processor_kwargs={"backend": "pil"}
    )
    wanted = np.load(work / name / "rerank.npz")["scores"]
    assert wanted.std() > 1e-3
    assert np.abs(reranker.predict(asked(), activation=nn.Identity()) - wanted).max() <= 1e-5
    for inputs in INPUTS:
        model_fact(ARCHITECTURES[name].name, inputs, "agrees", task="reranking")
