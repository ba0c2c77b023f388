"""Scripts written for Sentence Transformers run with other import lines, and end with the same metrics."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline import compat
from sightline.compat.left_out import INSTEAD
from support import published

# The published script for visual document retrieval, written again from its description: model, data, loss,
# arguments, evaluator with four hard negatives per query, training, measuring by dimension, saving.
THEIR_IMPORTS = """
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    BatchSamplers,
    SentenceTransformerTrainingArguments,
)
"""
OUR_IMPORTS = """
from sightline.compat import (
    BatchSamplers,
    CachedMultipleNegativesRankingLoss,
    InformationRetrievalEvaluator,
    MatryoshkaLoss,
    SentenceTransformer,
    SentenceTransformerModelCardData,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
"""
SCRIPT = """
import datasets

DIMS = [24, 16, 8]
model = SentenceTransformer(
    MODEL,
    device="cpu",
    model_card_data=SentenceTransformerModelCardData(language="en", model_name="tiny"),
    model_kwargs={"attn_implementation": "sdpa", "torch_dtype": "float32"},
)
train = datasets.load_dataset(DATA, "train", split="train").select_columns(["query", "image", "negative_0"])
held_out = datasets.load_dataset(DATA, "eval", split="train")
loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)
loss = MatryoshkaLoss(model, loss, matryoshka_dims=DIMS)
args = SentenceTransformerTrainingArguments(
    output_dir=OUTPUT,
    num_train_epochs=4,
    per_device_train_batch_size=64,
    per_device_eval_batch_size=64,
    learning_rate=3e-3,
    warmup_ratio=0.1,
    fp16=False,
    bf16=False,
    batch_sampler=BatchSamplers.NO_DUPLICATES,
    eval_strategy="steps",
    eval_steps=0.5,
    save_strategy="steps",
    save_steps=0.5,
    save_total_limit=2,
    logging_steps=0.25,
    run_name="tiny-vdr",
    report_to="none",
    use_cpu=True,
)
queries = {number: row["query"] for number, row in enumerate(held_out)}
corpus = {number: row["image"] for number, row in enumerate(held_out)}
for place in range(4):
    for number, row in enumerate(held_out):
        corpus[len(held_out) * (place + 1) + number] = row[f"negative_{place}"]
relevant = {number: [number] for number in queries}


def evaluator(name, **options):
    return InformationRetrievalEvaluator(
        queries=queries, corpus=corpus, relevant_docs=relevant, batch_size=1, name=name, **options
    )


before = evaluator("vdr-eval-hard")(model)
trainer = SentenceTransformerTrainer(
    model=model,
    args=args,
    train_dataset=train,
    eval_dataset=held_out,
    loss=loss,
    evaluator=evaluator("vdr-eval-hard"),
)
trainer.train()
after = evaluator("vdr-eval-hard")(model)
for dim in DIMS:
    after |= evaluator(f"vdr-eval-hard-{dim}d", truncate_dim=dim)(model)
model.save_pretrained(OUTPUT + "/final")
vectors = model.encode(["How many employees?", "a pump"])
one = model.encode_document(held_out[0]["image"])
scores = model.similarity(vectors, vectors)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.table(tmp_path_factory.mktemp("data") / "pages", train=16, held_out=6)


def run(imports: str, **names: Any) -> dict[str, Any]:
    assert {type(node) for node in ast.parse(imports).body} == {ast.ImportFrom}
    exec(compile(imports + SCRIPT, "script.py", "exec"), names)
    return names


def test_the_published_document_retrieval_script(
    tiny: Callable[[str], Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    given = {"MODEL": str(tiny("clip")), "DATA": str(data)}
    theirs = run(THEIR_IMPORTS, OUTPUT=str(tmp_path / "theirs"), **given)
    ours = run(OUR_IMPORTS, OUTPUT=str(tmp_path / "ours"), **given)
    assert (
        abs(ours["after"]["vdr-eval-hard_cosine_ndcg@10"] - ours["before"]["vdr-eval-hard_cosine_ndcg@10"])
        > 0.01
    )
    for stage in ("before", "after"):
        assert ours[stage].keys() == theirs[stage].keys()
        for name, value in theirs[stage].items():
            assert ours[stage][name] == pytest.approx(value, abs=1e-3), f"{stage}: {name}"
    losses = [
        {
            entry["step"]: entry["eval_loss"]
            for entry in found["trainer"].state.log_history
            if "eval_loss" in entry
        }
        for found in (ours, theirs)
    ]
    assert losses[0].keys() == losses[1].keys()
    for step, value in losses[1].items():
        assert losses[0][step] == pytest.approx(value, rel=1e-3)
    assert abs(ours["vectors"] - theirs["vectors"]).max() < 1e-3
    assert ours["one"].shape == theirs["one"].shape == (24,)
    assert np.abs(ours["scores"].numpy() - theirs["scores"].numpy()).max() < 1e-3
    # What one saved, the other loads.
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(tmp_path / "ours" / "final"), device="cpu").encode(["a pump"])
    assert abs(loaded - ours["vectors"][1:]).max() < 1e-5


def test_nothing_imports_it() -> None:
    package = Path(sightline.__file__).parent
    others = [path for path in package.rglob("*.py") if path.parent.name != "compat"]
    assert [path.name for path in others if "sightline.compat" in path.read_text(encoding="utf-8")] == []


def test_its_names_are_those_of_sentence_transformers() -> None:
    import importlib

    theirs: set[str] = set()
    for room in ("", ".sentence_transformer", ".cross_encoder"):
        for part in ("", ".losses", ".evaluation", ".training_args", ".model_card", ".modules", ".trainer"):
            if room or not part:
                theirs |= set(dir(importlib.import_module(f"sentence_transformers{room}{part}")))
    theirs |= set(dir(importlib.import_module("sentence_transformers.util")))
    assert set(compat.__all__) <= theirs
    assert compat.__all__ == sorted(compat.__all__)
    assert set(INSTEAD) <= theirs - set(compat.__all__)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SoftmaxLoss", "no SoftmaxLoss: InfoNCE"),
        ("DenoisingAutoEncoderLoss", "MultipleNegativesRankingLoss"),
        ("MultiVectorEncoder", "late-interaction"),
        ("SpladeLoss", "no sparse models"),
        ("LabelAccuracyEvaluator", "docs/from-sentence-transformers.md says"),
    ],
)
def test_a_name_that_is_left_out_says_what_to_use(name: str, words: str) -> None:
    with pytest.raises(ImportError, match=words):
        exec(f"from sightline.compat import {name}", {})
    assert not hasattr(compat, "_nothing")
