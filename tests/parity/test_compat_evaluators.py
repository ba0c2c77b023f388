"""What ST's evaluators ask a model is looked at before the first step, and called by the script's own ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from sightline import compat
from sightline.errors import ConfigError, DataError
from support.tiny_rerankers import bert_scores

PAGE = Image.new("RGB", (32, 32), "red")


def judge(corpus: dict[Any, Any]) -> compat.InformationRetrievalEvaluator:
    return compat.InformationRetrievalEvaluator({"q7": "a pump"}, corpus, {"q7": set(corpus)})


def arguments(folder: Path) -> Any:
    return compat.SentenceTransformerTrainingArguments(
        output_dir=str(folder), max_steps=1, eval_strategy="steps", eval_steps=1, save_strategy="no",
        report_to="none", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ({"d1": "the pump", "d2": PAGE}, "'d2'"),
        (dict.fromkeys(range(11), "the pump") | {70: PAGE}, "'11: 70'"),
    ],
    ids=["text", "number"],
)
@pytest.mark.parametrize("several", [False, True])
def test_documents(
    corpus: dict[Any, Any], name: str, several: bool, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    model = compat.SentenceTransformer(str(tiny("bert")), device="cpu")
    evaluators = [judge({"d0": "a valve"}), judge(corpus)]
    trainer = compat.SentenceTransformerTrainer(
        model,
        arguments(tmp_path),
        datasets.Dataset.from_dict({"a": ["a pump"] * 2, "b": ["the pump"] * 2}),
        loss=compat.MultipleNegativesRankingLoss(model),
        evaluator=evaluators if several else evaluators[1],
    )
    with pytest.raises(DataError, match=f"document {name}: this model reads text, not image"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_numbers_are_ordered_as_numbers(tiny: Callable[[str], Path]) -> None:
    model = compat.SentenceTransformer(str(tiny("bert")), device="cpu")
    evaluator = judge(dict.fromkeys((9, 10, 100), "the same"))
    evaluator(model)
    found = evaluator.inner.last
    assert found is not None
    # Of equal scores the greatest id comes first, as in ST.
    assert [docid for docid, _ in found.top["q7"]] == ["2: 100", "1: 10", "0: 9"]


def test_pairs(tmp_path: Path) -> None:
    model = compat.CrossEncoder(bert_scores(tmp_path / "bert"), device="cpu")
    samples = [{"query": "a pump", "positive": ["the pump"], "negative": [PAGE]}]
    evaluator = compat.CrossEncoderRerankingEvaluator(samples)
    trainer = compat.CrossEncoderTrainer(
        model,
        arguments(tmp_path / "run"),
        datasets.Dataset.from_dict({"a": ["a pump"] * 2, "b": ["the pump"] * 2, "label": [1.0, 0.0]}),
        evaluator=evaluator,
    )
    with pytest.raises(DataError, match=r"sample 0, 'negative\[0\]': this model reads text"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_prompt_that_the_model_has_not(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    model = compat.SentenceTransformer(str(tiny("bert")), device="cpu")
    evaluator = compat.InformationRetrievalEvaluator(
        {"q7": "a pump"}, {"d1": "the pump"}, {"q7": {"d1"}}, corpus_prompt_name="page"
    )
    with pytest.raises(ConfigError, match="no prompt named 'page'"):
        compat.SentenceTransformerTrainer(
            model,
            arguments(tmp_path),
            datasets.Dataset.from_dict({"a": ["a pump"] * 2, "b": ["the pump"] * 2}),
            loss=compat.MultipleNegativesRankingLoss(model),
            evaluator=evaluator,
        )
