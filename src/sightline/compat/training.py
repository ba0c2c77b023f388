"""ST's trainers, their arguments and evaluators over ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sightline.compat.making import without_guides
from sightline.compat.models import inner_of
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.pairwise import CoSENT
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer


class BatchSamplers(StrEnum):
    """Contents that repeat within a batch are never each other's negatives, whatever is chosen."""

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    GROUP_BY_LABEL = "group_by_label"


class MultiDatasetBatchSamplers(StrEnum):
    """From which dataset the next batch comes."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"


SentenceTransformerTrainingArguments = TrainingArguments  # the samplers' names are those above
CrossEncoderTrainingArguments = SentenceTransformerTrainingArguments


class SentenceTransformerTrainer(Trainer):
    """The `Trainer` with ST's argument names; a list of evaluators is asked one after another."""

    def __init__(
        self, model: Any = None, args: Any = None, train_dataset: Any = None, eval_dataset: Any = None,
        loss: Any = None, evaluator: Any = None, *, callbacks: Any = None, optimizers: tuple[Any, Any] = (None, None),
    ) -> None:  # fmt: skip
        inner = inner_of(model)
        if loss is None:
            loss = BinaryCrossEntropy() if isinstance(inner, Reranker) else CoSENT()
        loss, guide = without_guides(loss)
        super().__init__(
            inner,
            loss,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            args=args or SentenceTransformerTrainingArguments(output_dir="tmp_trainer"),
            evaluator=SequentialEvaluator(evaluator) if isinstance(evaluator, (list, tuple)) else evaluator,
            callbacks=callbacks,
            optimizers=optimizers,
            guide=guide,
        )


CrossEncoderTrainer = SentenceTransformerTrainer


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
        encoder = inner_of(model)
        self.similarity = encoder.similarity_fn_name
        folder = options.pop("output_dir", None) or output_path
        epoch, steps = options.pop("epoch", None), options.pop("steps", None)
        found = self.inner(encoder, output_dir=folder, epoch=epoch, steps=steps, **options)
        return {f"{self._prefix}{metric}": value for metric, value in found.items()}


class CrossEncoderRerankingEvaluator:
    """`RerankingEvaluator` with ST's arguments and names of metrics."""

    greater_is_better = True

    def __init__(
        self, samples: Sequence[Mapping[str, Any]], at_k: int = 10, always_rerank_positives: bool = True,
        name: str = "", prompt_name: str | None = None, **_: Any,
    ) -> None:  # fmt: skip
        self.inner = RerankingEvaluator(
            samples,
            k=at_k,
            rerank_positives=always_rerank_positives,
            name=name,
            options={"prompt_name": prompt_name},
        )

    @property
    def primary_metric(self) -> str:
        """``<name>_ndcg@10``."""
        return self.inner.primary_metric

    def __call__(self, model: Any, output_path: str | None = None, **options: Any) -> dict[str, float]:
        """Metrics of the model; ``options`` are those our `Trainer` gives."""
        options.setdefault("output_dir", output_path)
        found = self.inner(inner_of(model), **options)
        ours, theirs = (f"{self.inner.prefix}{word}_" for word in ("before", "base"))
        return {
            theirs + name.removeprefix(ours) if name.startswith(ours) else name: value
            for name, value in found.items()
        }


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
            for name, value in evaluator(inner_of(encoder), **options).items()
        }
