# ruff: noqa: N802  (functions bear the names of ST's classes)
"""Sentence Transformers' names over ours, so that its training scripts run with other import lines.

A script that imports `SentenceTransformer`, its trainer, arguments, losses and evaluators from here trains with our
engine and saves the same files. Where a name has arguments that have no meaning here (``mini_batch_size``: memory is
the step's business), they are taken and not looked at. Nothing in the library imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import MarginMSE
from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, CosineSimilarity
from sightline.losses.triplets import Triplet
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from sightline.types import Embeddings

__all__ = [
    "AnglELoss",
    "BatchSamplers",
    "CachedMultipleNegativesRankingLoss",
    "CoSENTLoss",
    "ContrastiveLoss",
    "CosineSimilarityLoss",
    "InformationRetrievalEvaluator",
    "MarginMSELoss",
    "MatryoshkaLoss",
    "MultiDatasetBatchSamplers",
    "MultipleNegativesRankingLoss",
    "SentenceTransformer",
    "SentenceTransformerModelCardData",
    "SentenceTransformerTrainer",
    "SentenceTransformerTrainingArguments",
    "SequentialEvaluator",
    "TripletLoss",
]


class BatchSamplers(StrEnum):
    """Ours need no choice: contents that repeat within a batch are never each other's negatives."""

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"


class MultiDatasetBatchSamplers(StrEnum):
    """From which dataset the next batch comes."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"


@dataclass
class SentenceTransformerTrainingArguments(TrainingArguments):
    """`TrainingArguments` that also take the samplers' names."""

    batch_sampler: Any = field(default=BatchSamplers.BATCH_SAMPLER)
    multi_dataset_batch_sampler: Any = field(default=MultiDatasetBatchSamplers.PROPORTIONAL)


class SentenceTransformerModelCardData:
    """What a script wants said in the model card; the card here is written from the run."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts


class SentenceTransformer:
    """An `Encoder` with ST's constructor and results; every other name is the encoder's own.

    Attributes:
        encoder: the model.
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        *,
        model_card_data: Any = None,
        cache_folder: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.encoder = Encoder.from_pretrained(
            model_name_or_path,
            cache_dir=cache_folder,
            model_kwargs=_named_dtype(model_kwargs),
            processor_kwargs={**(tokenizer_kwargs or {}), **(processor_kwargs or {})},
            **options,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "encoder":  # not there yet, as when it is unpickled
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def encode(self, inputs: Any, **options: Any) -> Any:
        """Vectors as an array; (D,) for a single input, else (N, D)."""
        return _encoded(self.encoder.encode, inputs, options)

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """`encode` for queries."""
        return _encoded(self.encoder.encode_query, inputs, options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """`encode` for documents."""
        return _encoded(self.encoder.encode_document, inputs, options)

    def similarity(self, first: Any, second: Any) -> Tensor:
        """Similarity (len(first), len(second)) of arrays or tensors."""
        return self.encoder.similarity(torch.as_tensor(first), torch.as_tensor(second))

    def get_sentence_embedding_dimension(self) -> int:
        """Components of a vector."""
        return self.encoder.truncate_dim or self.encoder.embedding_dim

    get_embedding_dimension = get_sentence_embedding_dimension

    def save(self, path: str | Path, **_: Any) -> None:
        """`Encoder.save_pretrained`."""
        self.encoder.save_pretrained(path)

    save_pretrained = save


class SentenceTransformerTrainer(Trainer):
    """The `Trainer` with ST's argument names; a list of evaluators is asked one after another."""

    def __init__(
        self,
        model: Any = None,
        args: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        loss: Any = None,
        evaluator: Any = None,
        *,
        callbacks: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        several = isinstance(evaluator, (list, tuple))
        super().__init__(
            _inner(model),
            loss if loss is not None else CoSENT(),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            args=args or SentenceTransformerTrainingArguments(output_dir="tmp_trainer"),
            evaluator=SequentialEvaluator(evaluator) if several else evaluator,
            callbacks=callbacks,
            optimizers=optimizers,
        )


class InformationRetrievalEvaluator:
    """`RetrievalEvaluator` with ST's arguments and names of metrics.

    Ids may be of any type that sorts; equal scores are ordered by it, as there.
    """

    greater_is_better = True

    def __init__(
        self,
        queries: Mapping[Any, Any],
        corpus: Mapping[Any, Any],
        relevant_docs: Mapping[Any, Any],
        *,
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        name: str = "",
        truncate_dim: int | None = None,
        query_prompt: str | None = None,
        query_prompt_name: str | None = None,
        corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None,
        **_: Any,
    ) -> None:
        # Ours are text; counted in the order of theirs, so that ties fall alike.
        ids = {docid: f"{rank:09d}" for rank, docid in enumerate(sorted(corpus))}
        asked = {qid: query for qid, query in queries.items() if relevant_docs.get(qid)}
        self.name = name
        self.ndcg = max(ndcg_at_k)
        self.similarity: str | None = None
        options: dict[str, Any] = {"truncate_dim": truncate_dim, "show_progress": False}
        self.inner = RetrievalEvaluator(
            {str(qid): query for qid, query in asked.items()},
            {ids[docid]: document for docid, document in corpus.items()},
            {str(qid): {ids[docid] for docid in relevant_docs[qid] if docid in ids} for qid in asked},
            metrics=[
                *(f"accuracy@{k}" for k in accuracy_at_k),
                *(f"precision@{k}" for k in precision_recall_at_k),
                *(f"recall@{k}" for k in precision_recall_at_k),
                *(f"ndcg@{k}" for k in ndcg_at_k),
                *(f"mrr@{k}" for k in mrr_at_k),
                *(f"map@{k}" for k in map_at_k),
            ],
            primary=f"ndcg@{self.ndcg}",
            query_options=options | {"prompt": query_prompt, "prompt_name": query_prompt_name},
            document_options=options | {"prompt": corpus_prompt, "prompt_name": corpus_prompt_name},
        )

    @property
    def primary_metric(self) -> str:
        """``<name>_<similarity>_ndcg@10``."""
        return f"{self._prefix}ndcg@{self.ndcg}"

    @property
    def _prefix(self) -> str:
        return f"{self.name}_{self.similarity or 'cosine'}_".removeprefix("_")

    def __call__(self, model: Any, output_path: str | None = None, **options: Any) -> dict[str, float]:
        """Metrics of the model; ``options`` are those our `Trainer` gives."""
        encoder = _inner(model)
        self.similarity = encoder.similarity_fn_name
        folder = options.pop("output_dir", None) or output_path
        epoch, steps = options.pop("epoch", None), options.pop("steps", None)
        found = self.inner(encoder, output_dir=folder, epoch=epoch, steps=steps, **options)
        return {f"{self._prefix}{metric}": value for metric, value in found.items()}


class SequentialEvaluator:
    """Several evaluators as one; the last one's metric chooses the best model, as in ST."""

    greater_is_better = True

    def __init__(self, evaluators: Sequence[Any]) -> None:
        self.evaluators = list(evaluators)

    @property
    def primary_metric(self) -> str:
        """The last evaluator's."""
        return str(self.evaluators[-1].primary_metric)

    def __call__(self, encoder: Any, **options: Any) -> dict[str, float]:
        """The metrics of all."""
        return {
            name: value
            for evaluator in self.evaluators
            for name, value in evaluator(_inner(encoder), **options).items()
        }


# Losses


def MultipleNegativesRankingLoss(
    model: Any,
    scale: float = 20.0,
    similarity_fct: Any = None,
    *,
    directions: Sequence[str] = ("query_to_doc",),
    partition_mode: str = "joint",
    **_: Any,
) -> InfoNCE:
    """`InfoNCE`."""
    both = set(directions) == {"query_to_doc", "doc_to_query"} and partition_mode == "per_direction"
    if not both and set(directions) != {"query_to_doc"}:
        raise ConfigError(
            f"directions {tuple(directions)} with partition_mode {partition_mode!r} have no equal here; there are "
            "('query_to_doc',) and, per_direction, ('query_to_doc', 'doc_to_query')"
        )
    return InfoNCE(1 / scale, symmetric=both, similarity=_similarity(similarity_fct))


CachedMultipleNegativesRankingLoss = MultipleNegativesRankingLoss  # caching is the step's business


def MatryoshkaLoss(
    model: Any,
    loss: Loss,
    matryoshka_dims: Sequence[int],
    matryoshka_weights: Sequence[float] | None = None,
    n_dims_per_step: int = -1,
) -> Matryoshka:
    """`Matryoshka`."""
    if n_dims_per_step > 0:
        raise ConfigError("n_dims_per_step has no equal: all dimensions are trained in every step")
    return Matryoshka(loss, matryoshka_dims, matryoshka_weights)


def TripletLoss(model: Any, distance_metric: Any = "euclidean", triplet_margin: float = 5.0) -> Triplet:
    """`Triplet`."""
    return Triplet(triplet_margin, _distance(distance_metric))


def ContrastiveLoss(model: Any, distance_metric: Any = "cosine", margin: float = 0.5) -> Contrastive:
    """`Contrastive`."""
    return Contrastive(margin, _distance(distance_metric))


def CosineSimilarityLoss(model: Any) -> CosineSimilarity:
    """`CosineSimilarity`."""
    return CosineSimilarity()


def CoSENTLoss(model: Any, scale: float = 20.0) -> CoSENT:
    """`CoSENT`."""
    return CoSENT(1 / scale)


def AnglELoss(model: Any, scale: float = 20.0) -> AnglE:
    """`AnglE`."""
    return AnglE(1 / scale)


def MarginMSELoss(model: Any, similarity_fct: Any = None) -> MarginMSE:
    """`MarginMSE`."""
    return MarginMSE(_similarity(similarity_fct, default="dot"))


# Between the two


def _inner(model: Any) -> Any:
    """The model of ours inside one of these classes."""
    return model.encoder if isinstance(model, SentenceTransformer) else model


def _named_dtype(model_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    options = dict(model_kwargs or {})
    if "torch_dtype" in options:  # the older name
        options["dtype"] = options.pop("torch_dtype")
    options.pop("device_map", None)  # placement is ours
    return options


def _encoded(encode: Callable[..., Embeddings], inputs: Any, options: dict[str, Any]) -> Any:
    as_tensor = options.pop("convert_to_tensor", False)
    single = isinstance(inputs, (str, bytes, Mapping, Path)) or type(inputs).__module__.startswith("PIL")
    found = encode(
        inputs,
        show_progress=options.pop("show_progress_bar", None),
        normalize=options.pop("normalize_embeddings", False),
        **{
            name: value
            for name, value in options.items()
            if name in ("prompt", "prompt_name", "truncate_dim") and value is not None
        },
    )
    precision = options.get("precision", "float32")
    if precision != "float32":
        found = found.quantize(precision)
    values = found.values if as_tensor else found.numpy()
    return values[0] if single else values


def _similarity(function: Any, default: str = "cosine") -> Any:
    """Ours of a function like ``util.dot_score`` or a `SimilarityFunction`."""
    if function is None:
        return default
    name = getattr(function, "value", None) or getattr(function, "__name__", str(function))
    known = {
        "cos_sim": "cosine",
        "pairwise_cos_sim": "cosine",
        "dot_score": "dot",
        "pairwise_dot_score": "dot",
    }
    return known.get(str(name), str(name))


def _distance(metric: Any) -> Any:
    """Ours of a member of ``TripletDistanceMetric`` or ``SiameseDistanceMetric``, or of its name."""
    name = str(getattr(metric, "name", metric)).lower()
    return name.removesuffix("_distance")
