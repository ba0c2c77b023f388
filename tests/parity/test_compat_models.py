"""Models composed of modules, guides and samplers through `sightline.compat`, against ST on the same lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import sentence_transformers
import torch
from PIL import Image
from sentence_transformers.base import modules as base_modules
from sentence_transformers.cross_encoder import evaluation
from sentence_transformers.sentence_transformer import modules, training_args
from torch import nn

from sightline import compat
from sightline.errors import ConfigError
from support.fixtures import TEXTS
from support.reranker_rows import triplets
from support.tiny_rerankers import bert_scores

THEIRS = SimpleNamespace(
    SentenceTransformer=sentence_transformers.SentenceTransformer,
    Router=base_modules.Router,
    Transformer=modules.Transformer,
    Pooling=modules.Pooling,
    Dense=modules.Dense,
    Normalize=modules.Normalize,
)


def by_role(room: Any, tiny: Callable[[str], Path]) -> Any:
    """Out of descriptions, one of them with a projection of given weights."""
    light, heavy = room.Transformer(str(tiny("bert"))), room.Transformer(str(tiny("qwen3")))
    width, wide = light.get_embedding_dimension(), heavy.get_embedding_dimension()
    weight = torch.randn(width, wide, generator=torch.Generator().manual_seed(0))
    router = room.Router.for_query_document(
        query_modules=[light, room.Pooling(width, "cls")],
        document_modules=[
            heavy,
            room.Pooling(wide, pooling_mode="lasttoken"),
            room.Dense(wide, width, bias=False, activation_function=nn.Tanh(), init_weight=weight),
        ],
    )
    return room.SentenceTransformer(modules=[router, room.Normalize()], device="cpu")


def by_modality(room: Any, tiny: Callable[[str], Path]) -> Any:
    """Out of loaded models."""
    text = room.SentenceTransformer(str(tiny("bert")), device="cpu")
    image = room.SentenceTransformer(str(tiny("vit")), device="cpu")
    router = room.Router(
        sub_modules={"words": list(text.children()), "image": list(image.children())},
        route_mappings={(None, "text"): "words"},
    )
    return room.SentenceTransformer(modules=[router], device="cpu")


def test_a_router_by_role(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    theirs, ours = by_role(THEIRS, tiny), by_role(compat, tiny)
    for name in ("encode_query", "encode_document", "encode"):
        wanted = getattr(theirs, name)(TEXTS)
        assert np.abs(getattr(ours, name)(TEXTS) - wanted).max() < 1e-5, name
    assert np.abs(ours.encode_query(TEXTS) - ours.encode_document(TEXTS)).max() > 0.01
    ours.save_pretrained(tmp_path / "ours")
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert np.abs(loaded.encode_document(TEXTS) - theirs.encode_document(TEXTS)).max() < 1e-5


def test_a_router_by_modality(tiny: Callable[[str], Path], pictures: list[Image.Image]) -> None:
    theirs, ours = by_modality(THEIRS, tiny), by_modality(compat, tiny)
    assert np.abs(ours.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-5
    assert np.abs(ours.encode(pictures) - theirs.encode(pictures)).max() < 1e-5


def test_modules_that_make_no_model_are_named(tiny: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="a LogitScore is no module"):
        compat.SentenceTransformer(modules=[compat.Transformer(str(tiny("bert"))), compat.LogitScore(1)])
    with pytest.raises(ConfigError, match="starts with a Backbone or a Router"):
        compat.SentenceTransformer(modules=[compat.Normalize()])
    words = compat.Transformer(str(tiny("qwen3")))
    for parts, message in (
        ([words, compat.Pooling(32)], "ends with a LogitScore, or with a Dense"),
        ([words, compat.Pooling(32), compat.Dense(32, 1)], 'module_output_name="scores"'),
        ([words, compat.LogitScore(1)], "false_token_id is needed"),
        ([compat.Pooling(32), compat.Dense(32, 1)], "starts with a Transformer, not with a Pooling"),
    ):
        with pytest.raises(ConfigError, match=message):
            compat.CrossEncoder(modules=parts)
    with pytest.raises(ConfigError, match="a CrossEncoder needs a model's name, or modules"):
        compat.CrossEncoder()
    with pytest.raises(ConfigError, match="a model's name, or modules"):
        compat.SentenceTransformer()


def rows(count: int) -> dict[str, list[str]]:
    return {
        "anchor": [f"how many pumps in {1990 + n}" for n in range(count)],
        "positive": [f"in {1990 + n} there were {n * 37} pumps" for n in range(count)],
    }


def arguments(folder: Path, **options: Any) -> Any:
    return compat.SentenceTransformerTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, max_steps=4, learning_rate=1e-3, save_strategy="no",
        logging_steps=1, report_to="none", use_cpu=True, **options,
    )  # fmt: skip


def test_a_guide_goes_to_the_trainer(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Two data sets in turn, one with a guided loss inside another loss."""
    model = compat.SentenceTransformer(str(tiny("bert")), device="cpu")
    guide = compat.SentenceTransformer(str(tiny("qwen3")), device="cpu")
    loss = compat.MatryoshkaLoss(model, compat.CachedGISTEmbedLoss(model, guide, mini_batch_size=2), [16, 8])
    scored = rows(8) | {"score": [n / 8 for n in range(8)]}
    trainer = compat.SentenceTransformerTrainer(
        model=model,
        args=arguments(
            tmp_path, multi_dataset_batch_sampler=compat.MultiDatasetBatchSamplers.ROUND_ROBIN,
            batch_sampler=compat.BatchSamplers.NO_DUPLICATES,
        ),
        train_dataset={"guided": datasets.Dataset.from_dict(rows(8)), "scored": datasets.Dataset.from_dict(scored)},
        loss={"guided": loss, "scored": compat.CoSENTLoss(model)},
    )  # fmt: skip
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 4
    assert all(np.isfinite(losses))
    with pytest.raises(ConfigError, match="a run has one guide"):
        compat.SentenceTransformerTrainer(
            model=model,
            args=arguments(tmp_path),
            train_dataset={
                "a": datasets.Dataset.from_dict(rows(8)),
                "b": datasets.Dataset.from_dict(rows(8)),
            },
            loss={"a": loss, "b": compat.GISTEmbedLoss(model, model)},
        )


def test_batches_by_label(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    model = compat.SentenceTransformer(str(tiny("bert")), device="cpu")
    data = {"text": rows(16)["positive"], "label": [n % 4 for n in range(16)]}
    trainer = compat.SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path, batch_sampler=compat.BatchSamplers.GROUP_BY_LABEL),
        train_dataset=datasets.Dataset.from_dict(data),
        loss=compat.BatchAllTripletLoss(model),
    )
    for batch in trainer.get_train_dataloader():
        labels = batch["batch"].targets["label"].tolist()
        assert sorted(labels.count(label) for label in set(labels)) == [2, 2]


def test_the_samplers_have_their_values() -> None:
    for name in ("BatchSamplers", "MultiDatasetBatchSamplers"):
        theirs = {one.name: one.value for one in getattr(training_args, name)}
        assert {one.name: one.value for one in getattr(compat, name)} == theirs


def test_the_evaluator_has_their_names(tmp_path: Path) -> None:
    folder = bert_scores(tmp_path / "bert")
    samples = [
        {"query": row["query"], "positive": [row["positive"]],
         "documents": [row["negative_0"], row["positive"], row["negative_1"]]}
        for row in triplets(5, seed=1)
    ]  # fmt: skip
    found = compat.CrossEncoderRerankingEvaluator(samples, at_k=2, name="before_all")(
        compat.CrossEncoder(folder)
    )
    theirs = evaluation.CrossEncoderRerankingEvaluator(samples, at_k=2, name="before_all")(
        sentence_transformers.CrossEncoder(str(folder), device="cpu")
    )
    assert found == pytest.approx(theirs, abs=1e-6)
    assert "before_all_base_ndcg@2" in found
