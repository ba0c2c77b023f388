"""`[more.NAME]` of a recipe: further tables to train on and to measure with."""

from __future__ import annotations

from dataclasses import dataclass, field

from sightline.config.recipe_loss import LossConfig


@dataclass(frozen=True)
class MoreEvaluationConfig:
    """`[more.NAME.evaluation]`: held-out rows of a further table, asked before, during and after training.

    They are measured apart from those of `[evaluation]`, in `results-NAME.json` and `report-NAME.html`.
    """

    split: str = "test"
    """Split whose questions are asked. Its documents are the collection that is searched."""

    dataset: str | None = None
    """A table to evaluate on; inherited: that of `[more.NAME]`."""

    subset: str | None = None
    """Its configuration; inherited: that of `[more.NAME]`."""

    columns: list[str] = field(default_factory=list)
    """Its columns: the question, the document that answers it, documents that do not. Empty: those of `[more.NAME]`."""

    max_rows: int | None = None
    """Ask at most this many questions, the first ones."""

    candidates: int = 100
    """Of a reranker: documents it puts into order per question, as of `[evaluation]`."""

    retriever: str | None = None
    """Of a reranker: the embedding model whose best documents those are, as of `[evaluation]`."""


@dataclass(frozen=True)
class MoreConfig:
    """`[more.NAME]`: a further table to train on, in batches of its own, as often as you like.

    `training.multi_dataset_batch_sampler` says how it and `[data]` (called "data") take turns: "proportional",
    "round_robin", or weights such as `{data = 3.0, NAME = 1.0}`. `training.prompts` may hold a table per name.
    """

    dataset: str
    """A dataset's name on the Hub, or a folder or file of Parquet, Arrow, JSON lines or CSV. Required."""

    columns: list[str]
    """Its columns to train on, in order, as of `[data]`. Required."""

    subset: str | None = None
    """Its configuration on the Hub."""

    revision: str | None = None
    """Branch, tag or commit on the Hub."""

    split: str = "train"
    """Split that is trained on."""

    max_rows: int | None = None
    """Train on at most this many rows, the first ones."""

    negatives: int | None = None
    """Of a reranker: wrong documents per right one, as of `[data]`; leave out where the rows have labels."""

    loss: LossConfig | None = None
    """`[more.NAME.loss]`: what is minimised for it; inherited: that of `[loss]`."""

    evaluation: MoreEvaluationConfig | None = None
    """`[more.NAME.evaluation]`: what of it the model is measured on besides; by default nothing."""
