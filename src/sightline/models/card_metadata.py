"""The head of a model card: YAML that the Hub files a model under, with its results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sightline.models.card_results import SystemResult

LIBRARY = "sentence-transformers"
METRICS = {
    "ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "recall": "Recall", "precision": "Precision", "accuracy": "Accuracy",
}  # fmt: skip


def head(
    *,
    title: str,
    base: str,
    tags: Sequence[str],
    pipeline_tag: str,
    results: Sequence[SystemResult],
    data: str | None,
    measured_on: str,
    task: str,
) -> str:
    """The lines between and with the two ``---``.

    Args:
        title: name of the model, for its results.
        base: name or path of the model it was trained from.
        tags: what the Hub lists it under.
        pipeline_tag: the Hub's task.
        results: of the trained model; those of the full width stand for the model.
        data: name of the training data, if it lies on the Hub.
        measured_on: name of what the results were measured on.
        task: what was measured: ``"information-retrieval"`` or ``"reranking"``.
    """
    from huggingface_hub import EvalResult, ModelCardData

    found = [
        EvalResult(
            task_type=task,
            task_name=task.replace("-", " ").capitalize(),
            dataset_type=re.sub(r"[^\w.-]+", "-", measured_on).strip("-") or "unknown",
            dataset_name=measured_on or "unknown",
            metric_type=metric,
            metric_name=_metric_name(metric, dim, result.fields),
            metric_value=round(value, 5),
        )
        for result in results
        for dim, metrics in result.by_dim.items()
        for metric, value in metrics.items()
    ]
    facts = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=pipeline_tag,
        tags=list(tags),
        base_model=base if is_hub_name(base) else None,
        datasets=[data] if data and is_hub_name(data) else None,
        metrics=sorted({metric for result in results for row in result.by_dim.values() for metric in row})
        or None,
        eval_results=found or None,
        model_name=title,
    )
    return f"---\n{facts.to_yaml(line_break=chr(10))}\n---\n"


def _metric_name(metric: str, dim: str, fields: str) -> str:
    name, mark, cut = metric.partition("@")
    shown = f"{METRICS.get(name, name)}{mark}{cut}"
    shown += f" at {dim} dimensions" if dim.isdigit() else ""
    return f"{shown} ({fields})" if fields else shown


def is_hub_name(base: str) -> bool:
    """Whether a name is ``user/name`` on the Hub rather than a folder."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", base)) and not Path(base).exists()


def link(name: str, *, kind: str = "") -> str:
    """A name as Markdown: a link where it is one of the Hub; ``kind="datasets/"`` for datasets."""
    return f"[{name}](https://huggingface.co/{kind}{name})" if is_hub_name(name) else f"`{Path(name).name}`"
