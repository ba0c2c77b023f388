"""The model card: README.md of a saved model, readable by people and by the Hub.

It tells what the model is, which can be seen from it, and what is known of its training, which the Trainer leaves with
the model as a `Story`. Nothing is told that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sightline.checkpoint.card import PLACEHOLDER, sealed
from sightline.models.card_metadata import head, link
from sightline.models.card_results import SystemResult, table

Kind = Literal["vectors", "token vectors", "scores"]
TAGS: dict[Kind, tuple[str, ...]] = {
    "vectors": ("sentence-similarity", "feature-extraction", "dense"),
    "token vectors": ("multi-vector", "late-interaction", "feature-extraction"),
    "scores": ("cross-encoder", "reranker"),
}
QUESTION = '"What does the chart on page 3 show?"'


@dataclass(frozen=True)
class Story:
    """What is known of a model's training.

    Attributes:
        base: name or path of the model it was trained from, empty for one built by hand.
        loss: what was minimised, as one would write it in code.
        loss_names: of the loss and those inside it in Sentence Transformers, outermost first.
        dims: prefix lengths the loss trained, widest first.
        columns: of the dataset.
        rows, skipped_rows: used and left out.
        steps: optimizer steps done.
        arguments: of the training, name and value.
        data: name or path of the training data, where it has one.
        fingerprint: of the training data, where it has one.
        results: measured systems, the model among them.
        measured_on: name of what they were measured on.
        evaluated_at: step of the evaluation during training that the results are of, where they are of one.
        eval_loss: on the evaluation rows, then.
        earlier: the training before this one, of the same model in the same process.
    """

    base: str
    loss: str
    loss_names: Sequence[str] = ()
    dims: Sequence[int] = ()
    columns: Sequence[str] = ()
    rows: int = 0
    skipped_rows: int = 0
    steps: int = 0
    arguments: Sequence[tuple[str, str]] = ()
    data: str | None = None
    fingerprint: str | None = None
    results: Sequence[SystemResult] = ()
    measured_on: str = ""
    evaluated_at: int | None = None
    eval_loss: float | None = None
    earlier: Story | None = None


@dataclass(frozen=True)
class Sketch:
    """What can be seen of a model.

    Attributes:
        kind: what it gives.
        name: what it was loaded from, name or path; empty for one built by hand.
        modalities: what it takes.
        dim: components of a vector; scores per pair of a reranker.
        similarity: name of the measure; empty for a reranker.
        prompts: texts by name.
        dims: prefix lengths that are known to be good, widest first.
        cut: components that are left of a vector by default, where it is cut.
    """

    kind: Kind
    name: str
    modalities: Sequence[str]
    dim: int
    similarity: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    dims: Sequence[int] = ()
    cut: int | None = None


def model_card(sketch: Sketch, story: Story | None = None) -> str:
    """Markdown with YAML front matter, under the tags that sentence-transformers' models carry on the Hub.

    Args:
        sketch: the model as it is.
        story: of its training, where it is known.

    Returns:
        The text, sealed (see `checkpoint.card`).
    """
    base = story.base if story else sketch.name
    modalities = set(sketch.modalities) - {"message"}
    front = head(
        title=_title(sketch, base, trained=story is not None),
        base=base,
        tags=[
            *("sentence-transformers", *TAGS[sketch.kind], "sightline"),
            *(["multimodal"] if len(modalities) > 1 else []),
            *sorted(modalities - {"text"}),
            *(f"loss:{name}" for name in (story.loss_names if story else ())),
        ],
        pipeline_tag=_pipeline_tag(sketch.kind, modalities),
        results=[result for result in (story.results if story else ()) if result.trained],
        data=story.data if story else None,
        measured_on=story.measured_on if story else "",
        task="reranking" if sketch.kind == "scores" else "information-retrieval",
    )
    lines = [f"# {_title(sketch, base, trained=story is not None)}", "", _summary(sketch, story, base), ""]
    dims = list(story.dims if story and story.dims else sketch.dims)
    lines += _use(sketch, dims, "image" in modalities)
    if story is not None:
        lines += ["## Training", "", *_training(story), *_results(story)]
        earlier = story.earlier
        while earlier is not None:
            lines += ["## Training before that", "", *_training(earlier)]
            earlier = earlier.earlier
    return sealed(front + "\n" + "\n".join(lines))


def _title(sketch: Sketch, base: str, *, trained: bool) -> str:
    if base and trained:
        return f"{Path(base).name} fine-tuned with Sightline"
    kind = "Reranker" if sketch.kind == "scores" else "Embedding model"
    if trained:
        return f"{kind} trained with Sightline"
    return f"{kind} made from {Path(base).name}" if base else f"{kind} made with Sightline"


def _pipeline_tag(kind: Kind, modalities: set[str]) -> str:
    if kind == "scores":
        return "text-ranking"
    return "sentence-similarity" if kind == "vectors" and modalities <= {"text"} else "feature-extraction"


def _summary(sketch: Sketch, story: Story | None, base: str) -> str:
    if story is None:
        how = f"made from {link(base)} with Sightline" if base else "made with Sightline"
    else:
        origin = f"fine-tuned from {link(base)}" if base else "trained from new weights"
        how = f"{origin} with Sightline on {story.rows:,} rows"
    takes = ", ".join(sketch.modalities)
    if sketch.kind == "scores":
        gives = "" if sketch.dim == 1 else f" and gives {sketch.dim} scores each"
        return f"A reranker {how}. It scores pairs of a query and a document ({takes}){gives}."
    vectors = "a vector per token" if sketch.kind == "token vectors" else "vectors"
    cut = f", cut to the first {sketch.cut}" if sketch.cut else ""
    return (
        f"An embedding model {how}. It maps {takes} to {vectors} of {sketch.dim} dimensions{cut}, compared by "
        f"{sketch.similarity} similarity."
    )


def _use(sketch: Sketch, dims: Sequence[int], images: bool) -> list[str]:
    documents = '["page-1.png", "page-2.png"]' if images else '["A text", "another text"]'
    # Sentence Transformers does not cut token vectors.
    cut = f", truncate_dim={dims[len(dims) // 2]}" if len(dims) > 1 and sketch.kind == "vectors" else ""
    if sketch.kind == "scores":
        call = f"rank({QUESTION}, {documents}, top_k=5)"
        if sketch.dim > 1:  # which have no order
            call = f"predict([({QUESTION}, one) for one in {documents}])"
        lines = _programs("reranker", "Reranker", "CrossEncoder", "", f"reranker.{call}")
    else:
        lines = _programs(
            "encoder",
            "Encoder",
            "MultiVectorEncoder" if sketch.kind == "token vectors" else "SentenceTransformer",
            cut,
            f"queries = encoder.encode_query([{QUESTION}])",
            f"documents = encoder.encode_document({documents})",
            "encoder.similarity(queries, documents)",
        )
    if cut:
        lines += [f"Vectors may be cut to {', '.join(map(str, dims))} dimensions (`truncate_dim`).", ""]
    if prompts := {name: text for name, text in sketch.prompts.items() if text}:
        said = "Prompts, which both put in front by themselves:"
        if sketch.kind == "scores":
            said = "Prompts, which both know by name (`prompt_name`):"
        lines += [said, "", *(f"- {name}: `{text}`" for name, text in prompts.items()), ""]
    return lines


def _programs(variable: str, ours: str, theirs: str, options: str, *rest: str) -> list[str]:
    """The same program twice: only how the model is loaded differs."""
    load = f'{variable} = {theirs}("{PLACEHOLDER}"{options})'
    return [
        "## Use", "", "With Sightline:", "", "```python", "import sightline as sl", "",
        f'{variable} = sl.{ours}.from_pretrained("{PLACEHOLDER}"{options})', *rest, "```", "",
        "With Sentence Transformers:", "", "```python", f"from sentence_transformers import {theirs}", "", load,
        *rest, "```", "",
    ]  # fmt: skip


def _training(story: Story) -> list[str]:
    known = f" (in Sentence Transformers: {', '.join(story.loss_names)})" if story.loss_names else ""
    name = f"{link(story.data, kind='datasets/')}: " if story.data else ""
    left_out = f" ({story.skipped_rows:,} left out because they cannot be read)" if story.skipped_rows else ""
    lines = [
        f"- Loss: `{story.loss}`{known}",
        f"- Data: {name}{story.rows:,} rows{left_out} with the columns {', '.join(story.columns)}",
    ]
    lines += [f"- Fingerprint of the data: `{story.fingerprint}`"] if story.fingerprint else []
    lines += [f"- Steps: {story.steps:,}", "", "| argument | value |", "|---|---|"]
    return [*lines, *(f"| {name} | {value} |" for name, value in story.arguments), ""]


def _results(story: Story) -> list[str]:
    rows = table(story.results)
    lines = []
    if story.evaluated_at is not None:
        lines += [f"At step {story.evaluated_at}:", "", *rows]
        if story.eval_loss is not None:
            lines += [f"Loss on the evaluation rows: {story.eval_loss:.4f}", ""]
    elif rows:
        where = (
            f"On {story.measured_on}, before and after training:"
            if story.measured_on
            else "Before and after:"
        )
        lines += [where, "", *rows]
    return ["## Results", "", *lines] if lines else []
