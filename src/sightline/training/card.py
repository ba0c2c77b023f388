"""The model card: README.md of a trained model, readable by people and by the Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

# Metrics the results table shows, where the evaluator has them.
SHOWN_METRICS = ("ndcg@10", "map", "mrr@10", "recall@10", "accuracy@1")
HYPER_PARAMETERS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type",
    "warmup_steps", "num_train_epochs", "max_steps", "weight_decay", "bf16", "fp16", "optim", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class CardFacts:
    """What the card tells.

    Attributes:
        encoder: the trained model.
        loss: what was minimised.
        args: `TrainingArguments`.
        columns: dataset columns.
        train_rows, skipped_rows: rows used and left out.
        steps: optimizer steps done.
        log_history: transformers' log, for evaluation results.
        primary_metric: the evaluator's, which picks the row of the best evaluation.
    """

    encoder: Any
    loss: Any
    args: Any
    columns: Sequence[str] = ()
    train_rows: int = 0
    skipped_rows: int = 0
    steps: int = 0
    log_history: Sequence[Mapping[str, Any]] = field(default_factory=list)
    primary_metric: str | None = None


def model_card(facts: CardFacts) -> str:
    """Markdown with YAML front matter, under the tags that sentence-transformers' models carry on the Hub."""
    base = base_model(facts.encoder)
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: sentence-similarity", "tags:"]
    tags = ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "sightline"]
    lines += [f"- {tag}" for tag in tags]
    if _is_hub_name(base):
        lines += [f"base_model: {base}"]
    lines += ["---", "", f"# {title(base)}", ""]
    lines += _summary(facts, base) + _usage(facts) + _training(facts) + _results(facts)
    return "\n".join(lines).rstrip() + "\n"


def describe_loss(loss: Any) -> str:
    """``Matryoshka(InfoNCE(temperature=0.05, ...), dims=(256, 64))``: as one would write it in code."""
    if not is_dataclass(loss) or isinstance(loss, type):
        return getattr(loss, "__name__", type(loss).__name__)
    shown = ", ".join(f"{name}={describe_value(value)}" for name, value in vars(loss).items())
    return f"{type(loss).__name__}({shown})"


def describe_value(value: Any) -> str:
    return describe_loss(value) if is_dataclass(value) else repr(value)


def base_model(encoder: Any) -> str:
    """Name or path the encoder was loaded from, empty if it was built by hand."""
    return str(vars(encoder).get("name_or_path") or "")


def title(base: str) -> str:
    """Heading of the card."""
    return (
        f"{Path(base).name} fine-tuned with Sightline" if base else "Embedding model trained with Sightline"
    )


def _summary(facts: CardFacts, base: str) -> list[str]:
    encoder = facts.encoder
    shown = f"[{base}](https://huggingface.co/{base})" if _is_hub_name(base) else f"`{Path(base).name}`"
    origin = f"fine-tuned from {shown}" if base else "trained from new weights"
    return [
        f"An embedding model {origin} with Sightline on {facts.train_rows:,} rows. It maps "
        f"{', '.join(encoder.modalities)} to vectors of {encoder.embedding_dim} dimensions, compared by "
        f"{encoder.similarity_fn_name} similarity.",
        "",
    ]


def _usage(facts: CardFacts) -> list[str]:
    dims = matryoshka_dims(facts.loss)
    cut = f", truncate_dim={dims[len(dims) // 2]}" if len(dims) > 1 else ""
    lines = ["## Use", "", "With Sightline:", "", "```python", "import sightline as sl", ""]
    lines += [
        f'encoder = sl.Encoder.from_pretrained("PATH_OR_NAME"{cut})',
        'queries = encoder.encode_query(["What does the chart on page 3 show?"])',
        'documents = encoder.encode_document(["A text", "another text"])',
        "encoder.similarity(queries, documents)",
        "```",
        "",
        "With Sentence Transformers:",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("PATH_OR_NAME"{cut})',
        'queries = model.encode_query(["What does the chart on page 3 show?"])',
        'documents = model.encode_document(["A text", "another text"])',
        "model.similarity(queries, documents)",
        "```",
        "",
    ]
    if cut:
        lines += [f"Vectors may be cut to {', '.join(map(str, dims))} dimensions (`truncate_dim`).", ""]
    return lines


def _training(facts: CardFacts) -> list[str]:
    args = facts.args
    lines = ["## Training", "", f"- Loss: `{describe_loss(facts.loss)}`"]
    left_out = f" ({facts.skipped_rows:,} left out because they cannot be read)" if facts.skipped_rows else ""
    lines += [f"- Data: {facts.train_rows:,} rows{left_out} with the columns {', '.join(facts.columns)}"]
    lines += [f"- Steps: {facts.steps:,}", "", "| argument | value |", "|---|---|"]
    for name in HYPER_PARAMETERS:
        value = getattr(args, name)
        if name == "max_steps" and value < 0:
            continue
        lines.append(f"| {name} | {getattr(value, 'value', value)} |")
    return [*lines, ""]


def _results(facts: CardFacts) -> list[str]:
    best = best_evaluation(facts)
    if best is None:
        return []
    table = results_by_dim(best)
    lines = ["## Results", "", f"At step {best.get('step')}:", ""]
    if table:
        metrics = [name for name in SHOWN_METRICS if any(name in row for row in table.values())]
        lines += [f"| dimensions | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
        for label, row in table.items():
            cells = [f"{row[name]:.4f}" if name in row else "" for name in metrics]
            lines.append(f"| {label} | {' | '.join(cells)} |")
        lines.append("")
    if "eval_loss" in best:
        lines += [f"Loss on the evaluation rows: {best['eval_loss']:.4f}", ""]
    return lines


def best_evaluation(facts: CardFacts) -> Mapping[str, Any] | None:
    """The evaluation with the highest primary metric, else the last one."""
    found = [entry for entry in facts.log_history if "eval_runtime" in entry]
    if not found:
        return None
    key = f"eval_{facts.primary_metric}"
    scored = [entry for entry in found if key in entry]
    return max(scored, key=lambda entry: entry[key]) if scored else found[-1]


def results_by_dim(entry: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics by dimension, "full" for names without a ``dim``, widest first."""
    rows: dict[int, dict[str, float]] = {}
    for name, value in entry.items():
        match = re.fullmatch(r"eval_(?:.+?_)??(?:dim(\d+)_)?([a-z]+@\d+|map|mrr)", name)
        if match:
            rows.setdefault(int(match[1]) if match[1] else 0, {})[match[2]] = float(value)
    order = sorted(rows, key=lambda dim: -dim if dim else float("-inf"))
    return {str(dim) if dim else "full": rows[dim] for dim in order}


def matryoshka_dims(loss: Any) -> list[int]:
    """Prefix lengths the loss trains, widest first; empty without Matryoshka."""
    found = vars(loss).get("dims") if is_dataclass(loss) else None
    return sorted(found, reverse=True) if found else []


def _is_hub_name(base: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", base)) and not Path(base).exists()
