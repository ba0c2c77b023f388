"""The model card: README.md of a trained model, readable by people and by the Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.card_metadata import head, link
from sightline.training.card_results import SystemResult, best_evaluation, results_by_dim, table
from sightline.training.st_names import st_loss_names

HYPER_PARAMETERS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type",
    "warmup_steps", "num_train_epochs", "max_steps", "weight_decay", "bf16", "fp16", "optim", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class CardFacts:
    """What the card tells.

    Attributes:
        encoder: the trained model, an encoder or a reranker.
        loss: what was minimised.
        args: `TrainingArguments`.
        columns: dataset columns.
        train_rows, skipped_rows: rows used and left out.
        steps: optimizer steps done.
        log_history: transformers' log, for evaluation results.
        primary_metric: the evaluator's, which picks the row of the best evaluation.
        data: name or path of the training data, where it has one.
        fingerprint: of the training data, where it has one.
        results: systems measured after training, this model among them; without any the best evaluation of the log
            is shown.
        measured_on: name of what they were measured on.
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
    data: str | None = None
    fingerprint: str | None = None
    results: Sequence[SystemResult] = ()
    measured_on: str = ""


def model_card(facts: CardFacts) -> str:
    """Markdown with YAML front matter, under the tags that sentence-transformers' models carry on the Hub."""
    base = base_model(facts.encoder)
    reranks = isinstance(facts.encoder, Reranker)
    losses = st_loss_names(facts.loss, tokens=gives_tokens(facts.encoder))
    kind = (
        ["cross-encoder", "reranker"] if reranks else ["sentence-similarity", "feature-extraction", "dense"]
    )
    if gives_tokens(facts.encoder):
        kind = ["multi-vector", "late-interaction", "feature-extraction"]
    modalities = set(facts.encoder.modalities) - {"message"}
    best = best_evaluation(facts.log_history, facts.primary_metric)
    results = list(facts.results)
    if not results and best is not None and (by_dim := results_by_dim(best)):
        results = [SystemResult("fine-tuned", "", by_dim, trained=True)]
    front = head(
        title=title(base, reranks=reranks),
        base=base,
        tags=[
            *("sentence-transformers", *kind, "sightline"),
            *(["multimodal"] if len(modalities) > 1 else []),
            *sorted(modalities - {"text"}),
            *(f"loss:{name}" for name in losses),
        ],
        pipeline_tag="feature-extraction"
        if gives_tokens(facts.encoder)
        else _pipeline_tag(reranks, modalities),
        results=[result for result in results if result.trained],
        data=facts.data,
        measured_on=facts.measured_on,
        task="reranking" if reranks else "information-retrieval",
    )
    lines = [f"# {title(base, reranks=reranks)}", "", *_summary(facts, base)]
    lines += _use_of_reranker(modalities) if reranks else _use_of_encoder(facts, modalities)
    lines += _training(facts, losses) + _results(facts, results, best)
    return front + "\n" + "\n".join(lines).rstrip() + "\n"


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


def title(base: str, *, reranks: bool = False) -> str:
    """Heading of the card."""
    if base:
        return f"{Path(base).name} fine-tuned with Sightline"
    return f"{'Reranker' if reranks else 'Embedding model'} trained with Sightline"


def gives_tokens(model: Any) -> bool:
    """Whether it is a late-interaction model."""
    return isinstance(model, Encoder) and model.multi_vector


def _pipeline_tag(reranks: bool, modalities: set[str]) -> str:
    if reranks:
        return "text-ranking"
    return "sentence-similarity" if modalities <= {"text"} else "feature-extraction"


def _summary(facts: CardFacts, base: str) -> list[str]:
    model = facts.encoder
    origin = f"fine-tuned from {link(base)}" if base else "trained from new weights"
    how = f"{origin} with Sightline on {facts.train_rows:,} rows"
    if isinstance(model, Reranker):
        does = f"It scores pairs of a query and a document ({', '.join(model.modalities)})."
        return [f"A reranker {how}. {does}", ""]
    vectors = "a vector per token" if gives_tokens(model) else "vectors"
    does = (
        f"It maps {', '.join(model.modalities)} to {vectors} of {model.embedding_dim} dimensions, compared by "
        f"{model.similarity_fn_name} similarity."
    )
    return [f"An embedding model {how}. {does}", ""]


def _use_of_encoder(facts: CardFacts, modalities: set[str]) -> list[str]:
    dims = matryoshka_dims(facts.loss)
    tokens = gives_tokens(facts.encoder)
    # Sentence Transformers does not cut token vectors.
    cut = f", truncate_dim={dims[len(dims) // 2]}" if len(dims) > 1 and not tokens else ""
    theirs = "MultiVectorEncoder" if tokens else "SentenceTransformer"
    documents = _documents(modalities)
    lines = _programs(
        f'encoder = sl.Encoder.from_pretrained("PATH_OR_NAME"{cut})',
        f"from sentence_transformers import {theirs}",
        f'encoder = {theirs}("PATH_OR_NAME"{cut})',
        'queries = encoder.encode_query(["What does the chart on page 3 show?"])',
        f"documents = encoder.encode_document({documents})",
        "encoder.similarity(queries, documents)",
    )
    if cut:
        lines += [f"Vectors may be cut to {', '.join(map(str, dims))} dimensions (`truncate_dim`).", ""]
    prompts = {name: text for name, text in vars(facts.encoder).get("prompts", {}).items() if text}
    if prompts:
        lines += ["Prompts, which both put in front by themselves:", ""]
        lines += [f"- {name}: `{text}`" for name, text in prompts.items()] + [""]
    return lines


def _use_of_reranker(modalities: set[str]) -> list[str]:
    return _programs(
        'reranker = sl.Reranker.from_pretrained("PATH_OR_NAME")',
        "from sentence_transformers import CrossEncoder",
        'reranker = CrossEncoder("PATH_OR_NAME")',
        f'reranker.rank("What does the chart on page 3 show?", {_documents(modalities)}, top_k=5)',
    )


def _documents(modalities: set[str]) -> str:
    return '["page-1.png", "page-2.png"]' if "image" in modalities else '["A text", "another text"]'


def _programs(ours: str, their_import: str, theirs: str, *rest: str) -> list[str]:
    """The same program twice: only how the model is loaded differs."""
    return [
        "## Use", "", "With Sightline:", "", "```python", "import sightline as sl", "", ours, *rest, "```", "",
        "With Sentence Transformers:", "", "```python", their_import, "", theirs, *rest, "```", "",
    ]  # fmt: skip


def _training(facts: CardFacts, losses: Sequence[str]) -> list[str]:
    args = facts.args
    known = f" (in Sentence Transformers: {', '.join(losses)})" if losses else ""
    lines = ["## Training", "", f"- Loss: `{describe_loss(facts.loss)}`{known}"]
    name = f"{link(facts.data, kind='datasets/')}: " if facts.data else ""
    left_out = f" ({facts.skipped_rows:,} left out because they cannot be read)" if facts.skipped_rows else ""
    lines += [
        f"- Data: {name}{facts.train_rows:,} rows{left_out} with the columns {', '.join(facts.columns)}"
    ]
    lines += [f"- Fingerprint of the data: `{facts.fingerprint}`"] if facts.fingerprint else []
    lines += [f"- Steps: {facts.steps:,}", "", "| argument | value |", "|---|---|"]
    for name in HYPER_PARAMETERS:
        value = getattr(args, name)
        if name == "max_steps" and value < 0:
            continue
        lines.append(f"| {name} | {getattr(value, 'value', value)} |")
    return [*lines, ""]


def _results(facts: CardFacts, results: Sequence[SystemResult], best: Mapping[str, Any] | None) -> list[str]:
    if not results and best is None:
        return []
    lines = ["## Results", ""]
    if facts.results:
        lines += [
            f"On {facts.measured_on}, before and after training:"
            if facts.measured_on
            else "Before and after:"
        ]
    elif best is not None:
        lines += [f"At step {best.get('step')}:"]
    lines += ["", *table(results)]
    if not facts.results and best is not None and "eval_loss" in best:
        lines += [f"Loss on the evaluation rows: {best['eval_loss']:.4f}", ""]
    return lines


def matryoshka_dims(loss: Any) -> list[int]:
    """Prefix lengths the loss trains, widest first; empty without Matryoshka."""
    found = vars(loss).get("dims") if is_dataclass(loss) else None
    return sorted(found, reverse=True) if found else []
