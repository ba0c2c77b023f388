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
from support import published, published_documents
from support.st_script_oracle import run_oracle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.table(tmp_path_factory.mktemp("data") / "pages", train=12, held_out=6, height=64)


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Two runs of the script, as `published_documents.told` has them."""
    metric = "vdr-eval-hard_cosine_ndcg@10"
    assert abs(ours["after"][metric] - ours["before"][metric]) > 0.01
    for stage in ("before", "after", "loss", "eval_loss"):
        assert ours[stage] == pytest.approx(theirs[stage], abs=1e-3), stage
    assert len(ours["loss"]) >= 4
    assert len(ours["eval_loss"]) >= 2
    for what in ("vectors", "page", "scores"):
        assert np.asarray(ours[what]).shape == np.asarray(theirs[what]).shape
        assert np.abs(np.asarray(ours[what]) - np.asarray(theirs[what])).max() < 1e-3


def test_only_import_lines_differ() -> None:
    lines = (published_documents.our_imports(), published_documents.IMPORTS)
    ours, theirs = (
        [node.names for node in ast.parse(one).body if isinstance(node, ast.ImportFrom)] for one in lines
    )
    assert [[name.name for name in names] for names in ours] == [
        [name.name for name in names] for names in theirs
    ]


def test_the_published_document_retrieval_script(
    tiny: Callable[[str], Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)  # put back what the runs set
    ours, theirs = (
        published_documents.run(
            imports, published_documents.CLIP, model=tiny("clip"), data=data, output=tmp_path / name
        )
        for name, imports in (
            ("ours", published_documents.our_imports()),
            ("theirs", published_documents.IMPORTS),
        )
    )
    compare(published_documents.told(ours), published_documents.told(theirs))
    # What one saved, the other loads.
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(tmp_path / "ours" / "final"), device="cpu").encode(["a pump"])
    assert abs(loaded - ours["vectors"][1:]).max() < 1e-5


def test_the_published_script_with_its_own_kind_of_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Qwen3-VL-Embedding: chat template, prompts, last token, limits of pixels."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    model = published_documents.qwen3_vl(tmp_path / "model")
    names = published_documents.run(
        published_documents.our_imports(), published_documents.QWEN3_VL,
        model=model, data=data, output=tmp_path / "ours",
    )  # fmt: skip
    ours = published_documents.told(names)
    run_oracle("documents", tmp_path, "--data", str(data))
    compare(ours, published_documents.read(tmp_path / "documents.json"))
    again = np.load(tmp_path / "ours-documents.npz")["vectors"]  # what Sightline saved, ST reads
    assert np.abs(again - np.asarray(ours["vectors"])).max() < 1e-5


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
