"""ST's evaluators over ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sightline.compat.making import similarity
from sightline.compat.models import inner_of
from sightline.compat.options import refuse
from sightline.errors import ConfigError
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.training.evaluating import ForesightedEvaluator, ThoroughEvaluator


class _Over:
    """What both evaluators leave to ours.

    Attributes:
        inner: the evaluator of ours.
    """

    inner: RetrievalEvaluator | RerankingEvaluator

    def check(self, model: Any) -> None:
        """Whether it can measure a model; raises ConfigError if not."""
        self.inner.check(inner_of(model))

    def check_inputs(self, model: Any, **options: Any) -> None:
        """Whether a model takes all that it would be asked; see `RecordedEvaluator.check_inputs`."""
        self.inner.check_inputs(inner_of(model), **options)


class InformationRetrievalEvaluator(_Over):
    """`RetrievalEvaluator` with ST's arguments and names of metrics.

    Ids may be of any type that sorts; equal scores are ordered by it, as there. ``batch_size``, ``corpus_chunk_size``
    and ``write_csv`` change nothing: a folder given to it gets the whole result as JSON.

    Args:
        score_functions: by what name the metrics go, and how vectors are compared: one function, the model's own.
        main_score_function: likewise, by the function's own name.

    Attributes:
        primary_metric: the metric that decides, ``<name>_<similarity>_ndcg@10``; None until a model is known, by the
            first evaluation or by the trainer that the evaluator is given to.

    Raises:
        ConfigError: an option that has no equal here; or, when called, a model that compares in another way.
    """

    greater_is_better = True

    def __init__(
        self, queries: Mapping[Any, Any], corpus: Mapping[Any, Any], relevant_docs: Mapping[Any, Any],
        corpus_chunk_size: int = 50_000, mrr_at_k: Sequence[int] = (10,), ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10), precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,), show_progress_bar: bool = False, batch_size: int = 32, name: str = "",
        write_csv: bool = True, truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[..., Any]] | None = None, main_score_function: Any = None,
        query_prompt: str | None = None, query_prompt_name: str | None = None, corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None, write_predictions: bool = False,
    ) -> None:  # fmt: skip
        refuse(
            "InformationRetrievalEvaluator",
            write_predictions=(write_predictions, "`evaluator.inner.last.top` has what was found for each query"),
            score_functions=(
                score_functions is not None and len(score_functions) != 1,
                "a model compares in one way; give each of two models its own similarity_fn_name",
            ),
        )  # fmt: skip
        ids = _as_text(corpus)
        asked = {qid: query for qid, query in queries.items() if relevant_docs.get(qid)}
        self.name = name
        self.ndcg = max(ndcg_at_k)
        self._compares, self._label = _measure(score_functions, main_score_function)
        options: dict[str, Any] = {"truncate_dim": truncate_dim, "show_progress": show_progress_bar}
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

    def meet(self, model: Any) -> None:
        """From now on the metrics bear the name of this model's similarity."""
        own = inner_of(model).similarity_fn_name
        if self._compares not in (None, own):
            raise ConfigError(
                f"the evaluator compares by {self._compares!r}, and the model by {own!r}; give the model "
                f"similarity_fn_name={self._compares!r}, or the evaluator no score function"
            )
        if self._compares is None:
            self._label = own

    @property
    def primary_metric(self) -> str | None:
        """See the class."""
        return None if self._label is None else f"{self._prefix}ndcg@{self.ndcg}"

    @property
    def _prefix(self) -> str:
        return f"{self.name}_{self._label}_".removeprefix("_")

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float | None = None, steps: int | None = None,
        *, output_dir: str | None = None, **ranks: Any,
    ) -> dict[str, float]:  # fmt: skip
        """Metrics of the model; our `Trainer` gives the folder as ``output_dir``, and its ``ranks``."""
        self.meet(model)
        found = self.inner(
            inner_of(model),
            output_dir=output_dir or output_path,
            epoch=_known(epoch),
            steps=_known(steps),
            **ranks,
        )
        return {f"{self._prefix}{metric}": value for metric, value in found.items()}


class CrossEncoderRerankingEvaluator(_Over):
    """`RerankingEvaluator` with ST's arguments and names of metrics.

    ``batch_size`` and ``write_csv`` change nothing: a folder given to it gets the whole result as JSON.
    """

    greater_is_better = True

    def __init__(
        self, samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]], at_k: int = 10,
        always_rerank_positives: bool = True, name: str = "", prompt_name: str | None = None, batch_size: int = 64,
        show_progress_bar: bool = False, write_csv: bool = True, mrr_at_k: int | None = None,
    ) -> None:  # fmt: skip
        self.inner = RerankingEvaluator(
            samples,
            k=at_k if mrr_at_k is None else mrr_at_k,  # its older name
            rerank_positives=always_rerank_positives,
            name=name,
            options={"prompt_name": prompt_name, "show_progress": show_progress_bar},
        )

    @property
    def primary_metric(self) -> str:
        """``<name>_ndcg@10``."""
        return self.inner.primary_metric

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float | None = None, steps: int | None = None,
        *, output_dir: str | None = None, **ranks: Any,
    ) -> dict[str, float]:  # fmt: skip
        """Metrics of the model; our `Trainer` gives the folder as ``output_dir``, and its ``ranks``."""
        found = self.inner(
            inner_of(model),
            output_dir=output_dir or output_path,
            epoch=_known(epoch),
            steps=_known(steps),
            **ranks,
        )
        ours, theirs = (f"{self.inner.prefix}{word}_" for word in ("before", "base"))
        return {
            theirs + name.removeprefix(ours) if name.startswith(ours) else name: value
            for name, value in found.items()
        }


def _last(scores: Sequence[float]) -> float:
    return scores[-1]


class SequentialEvaluator:
    """Several evaluators as one.

    Args:
        evaluators: of ours, under ST's names or our own.
        main_score_function: the score that chooses the best model, out of each evaluator's deciding one; by default
            the last one's.
    """

    greater_is_better = True
    primary_metric = "sequential_score"

    def __init__(
        self, evaluators: Iterable[Any], main_score_function: Callable[[Sequence[float]], float] = _last
    ) -> None:
        self.evaluators = list(evaluators)
        self.main_score_function = main_score_function
        if not self.evaluators:
            raise ConfigError("SequentialEvaluator: there is no evaluator in the list")

    def check(self, model: Any) -> None:
        """Whether all can measure a model; raises ConfigError as they do."""
        for one in self.evaluators:
            if isinstance(one, ForesightedEvaluator):
                one.check(model)

    def check_inputs(self, model: Any, **options: Any) -> None:
        """Whether the model takes what it would be asked; as of each evaluator."""
        for one in self.evaluators:
            if isinstance(one, ThoroughEvaluator):
                one.check_inputs(model, **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float | None = None, steps: int | None = None,
        *, output_dir: str | None = None, **ranks: Any,
    ) -> dict[str, float]:  # fmt: skip
        """The metrics of all, and ``sequential_score``."""
        together: dict[str, float] = {}
        scores = []
        for evaluator in self.evaluators:
            found = evaluator(
                inner_of(model), output_dir=output_dir or output_path, epoch=_known(epoch), steps=_known(steps),
                **ranks,
            )  # fmt: skip
            scores.append(found[evaluator.primary_metric])
            together |= found
        return together | {self.primary_metric: self.main_score_function(scores)}


def meet(evaluator: Any, model: Any) -> None:
    """Tells the evaluators that name their metrics by a model's similarity which model it is.

    Raises:
        ConfigError: one compares in another way than the model.
    """
    for one in evaluator.evaluators if isinstance(evaluator, SequentialEvaluator) else [evaluator]:
        if isinstance(one, InformationRetrievalEvaluator):
            one.meet(model)
        elif isinstance(one, SequentialEvaluator):
            meet(one, model)


def _as_text(docids: Iterable[Any]) -> dict[Any, str]:
    """What ours call the documents: ids that are text and sort as theirs do, so that ties fall alike."""
    ordered = sorted(docids)
    if all(isinstance(docid, str) for docid in ordered):
        return {docid: docid for docid in ordered}
    digits = len(str(len(ordered)))
    return {docid: f"{rank:0{digits}d}: {docid}" for rank, docid in enumerate(ordered)}


def _measure(functions: Mapping[str, Any] | None, main: Any) -> tuple[str | None, str | None]:
    """The similarity that is asked for and the name its metrics go by, or None where the model says."""
    wanted = None if main is None else similarity(main)
    if not functions:
        return wanted, wanted
    ((label, function),) = functions.items()
    if wanted not in (None, label):
        raise ConfigError(
            f"InformationRetrievalEvaluator: main_score_function {wanted!r} is not among score_functions: {label}"
        )
    return similarity(function), label


def _known(number: Any) -> Any:
    """ST writes -1 where there is no epoch or step."""
    return None if number == -1 else number
