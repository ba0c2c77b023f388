"""The recipe of a training run: one dataclass per TOML table, one documented field per key.

A field whose default is None is *inherited* when the recipe leaves it out: from the checkpoint
(`[model]`) or from `TrainingArguments` (`[training]`). What was inherited is printed when a run starts
and written to the `resolved.toml` that every run saves.

The attribute docstrings here, in `recipe_loss.py` and in `recipe_more.py` are the reference:
`docs/reference/recipes.md` is made from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sightline.config.recipe_loss import LossConfig
from sightline.config.recipe_more import MoreConfig

View = Literal["text", "image", "both"]


@dataclass(frozen=True)
class ModelConfig:
    """`[model]`: which checkpoint to start from and how to load it."""

    name: str = ""
    """Folder of a checkpoint, or a name on the Hugging Face Hub. Required, unless `routes` compose a model."""

    routes: dict[str, str] | None = None
    """Checkpoints to compose one model of, by what each reads ("text", "image", "audio", "video") or by role ("query",
    "document")."""

    dim: int | None = None
    """Dimension the routes of a composed model are to share; those of another get a projection, to be trained."""

    fusion: dict[str, float] | None = None
    """Weights by modality for items that mix modalities, such as a page with its text, in a composed model."""

    kind: Literal["encoder", "reranker"] = "encoder"
    """"encoder": a model that embeds queries and documents apart; "reranker": one that reads a pair and scores it."""

    multi_vector: bool | int = False
    """Make a late-interaction model of the checkpoint: a vector per token, through a projection that is new where it
    has none, to 128 components or to the number given here. One that is saved as such is known without it."""

    head: Literal["answer", "pooled", "classification"] | None = None
    """Head of a new reranker: "answer" takes the log-odds of a yes and a no word of a language model, "pooled" a linear
    layer on a pooled vector, "classification" transformers' own; inherited: what suits the checkpoint."""

    preset: str | None = None
    """Chat template and words a language model is asked with, for example "qwen3-vl-reranker"; inherited from the
    checkpoint or from its type."""

    answers: list[str] | None = None
    """The two words that say that a document fits and that it does not; inherited from the preset."""

    default_prompt_name: str | None = None
    """Prompt used where none is named; inherited from the checkpoint."""

    revision: str | None = None
    """Branch, tag or commit on the Hub."""

    dtype: str | None = None
    """Precision the weights are loaded in: "float32", "bfloat16" or "float16"."""

    device: str | None = None
    """Where the model runs, for example "cpu" or "cuda:0"; inherited: the fastest device there is."""

    attn_implementation: str | list[str] | None = None
    """Attention kernel: "eager", "sdpa" or "flash_attention_2"; or several, of which the first that can run on this
    machine is taken."""

    truncate_dim: int | None = None
    """Dimension the saved model cuts its embeddings to by default; training always uses all dimensions."""

    min_pixels: int | None = None
    """Images with fewer pixels are enlarged to this many; takes effect through the processor and is saved."""

    max_pixels: int | None = None
    """Images with more pixels are reduced to this many; takes effect through the processor and is saved."""

    trust_remote_code: bool = False
    """Allow Python code that comes with the checkpoint to run. Leave it off for models you do not know."""

    prompts: dict[str, str] | None = None
    """Prompt by name; "query" and "document" are used for their roles, in training and in search alike."""

    model_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments for the model class of transformers."""

    processor_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments for the processor of transformers."""


@dataclass(frozen=True)
class DataConfig:
    """`[data]`: what to train on."""

    dataset: str
    """Folder written by `sightline ingest`; with `columns`, a table: a dataset's name on the Hub, or a folder or file
    of Parquet, Arrow, JSON lines or CSV. Required."""

    columns: list[str] = field(default_factory=list)
    """Columns of a table to train on, in order: the question, the document that answers it, documents that do not;
    labels and scores by name."""

    subset: str | None = None
    """Of a table on the Hub (or a folder whose README.md declares some) the configuration to train on."""

    revision: str | None = None
    """Branch, tag or commit of a table on the Hub."""

    fields: View | list[View] = "both"
    """What a page shows the model in training: its "text" layer, its "image", or "both". A list trains on
    each question once per view."""

    split: str = "train"
    """Split whose questions are trained on."""

    origins: list[str] = field(default_factory=list)
    """Of pages: train only on questions that come from here: "person", "offline", "feedback", "model:NAME", or
    "model" for any. Empty: all."""

    max_rows: int | None = None
    """Train on at most this many questions, the first ones."""

    negatives: int | None = None
    """Of pages: train each question also against this many pages that people said do not answer it (`sightline
    feedback export`), then that `sightline mine` has found for it. Of a reranker: make each row into pairs labelled
    1 and 0, with this many wrong documents per right one: those pages or the row's own, then those of other rows.
    Leave out for losses that take a question with all its documents."""


@dataclass(frozen=True)
class LoraConfig:
    """`[lora]`: train a small adapter beside the frozen backbone instead of all its weights."""

    parts: list[str] = field(default_factory=list)
    """Which parts of the backbone get it: "language", "vision", "audio", "projection". Empty: the language model
    where there is one, else everything."""

    r: int = 16
    """Rank of the adapter's matrices."""

    alpha: float | None = None
    """The adapter is scaled by alpha / r; by default alpha is twice the rank."""

    dropout: float = 0.0
    """Dropout of the adapter's input in training."""

    target_modules: list[str] = field(default_factory=list)
    """Names of layers in place of parts, for example ["q_proj", "v_proj"]."""

    routes: list[str] = field(default_factory=list)
    """Of a composed model the routes to adapt; empty: all."""

    merge: bool = False
    """Work the adapter into the weights of the final model, which then needs no other; else it is saved alone."""


@dataclass(frozen=True)
class TrainingConfig:
    """`[training]`: `TrainingArguments` under transformers' names.

    The common ones are listed here; every other argument of `TrainingArguments` may stand in the table too.
    """

    num_train_epochs: float | None = None
    """Passes over the training questions."""

    max_steps: int | None = None
    """Stop after this many steps, whatever the epochs say."""

    per_device_train_batch_size: int | None = None
    """Questions per step and device. Bigger batches give more in-batch negatives; memory is not the limit."""

    micro_batch: Literal["auto"] | int | None = None
    """Questions and pages per forward pass; "auto" packs them by tokens into what suits the device and its
    memory. The gradients stay the same."""

    token_budget: int | None = None
    """Tokens per forward pass; inherited: chosen from measured memory before the first step."""

    memory_budget: float | str | None = None
    """Memory the training process may take in all, for example "8GB"; inherited: what the device or the
    machine has left."""

    learning_rate: float | None = None
    """Peak learning rate."""

    learning_rates: dict[str, float] | None = None
    """Learning rates of their own, by route, part of the backbone ("vision") or beginning of weights' names."""

    freeze: list[str] | None = None
    """What is not trained, by the same names: a route that is frozen as a whole embeds each item once."""

    lr_scheduler_type: str | None = None
    """Shape of the learning rate over time, for example "linear" or "cosine"."""

    warmup_ratio: float | None = None
    """Share of all steps over which the learning rate rises from 0."""

    weight_decay: float | None = None
    """Decoupled weight decay of AdamW."""

    bf16: bool | None = None
    """Compute in bfloat16 with float32 weights."""

    eval_strategy: str | None = None
    """When to evaluate during training: "no", "steps" or "epoch"."""

    eval_steps: float | None = None
    """Steps between evaluations; below 1 it is a share of the whole run."""

    save_strategy: str | None = None
    """When to write checkpoints: "no", "steps", "epoch" or "best"."""

    save_steps: float | None = None
    """Steps between checkpoints; below 1 it is a share of the whole run."""

    save_total_limit: int | None = None
    """Keep at most this many checkpoints."""

    load_best_model_at_end: bool | None = None
    """End with the checkpoint that evaluated best instead of the last one."""

    logging_steps: float | None = None
    """Steps between log lines; below 1 it is a share of the whole run."""

    dataloader_num_workers: int | None = None
    """Processes that open and preprocess media while the model computes."""

    on_bad_row: Literal["stop", "skip"] | None = None
    """Rows that cannot be read: "stop" before the first step with a list of them, or "skip" them."""

    on_bad_loss: Literal["stop", "skip"] | None = None
    """A loss or gradients that are not finite: "stop" with the rows of the batch, or "skip" what they would change."""

    seed: int | None = None
    """Seed of the weights drawn, the order of the rows and dropout."""

    report_to: str | list[str] | None = None
    """Experiment trackers, for example "trackio"; "none" for none."""

    others: dict[str, Any] = field(default_factory=dict, metadata={"rest": True})
    """Every further argument, under its own name."""

    def given(self) -> dict[str, Any]:
        """The arguments the recipe sets, by name."""
        named = {name: value for name, value in vars(self).items() if name != "others" and value is not None}
        return {**named, **self.others}


@dataclass(frozen=True)
class EvaluationConfig:
    """`[evaluation]`: the held-out questions, asked before, during and after training."""

    split: str = "test"
    """Split whose questions are asked. Its documents are the collection that is searched."""

    dataset: str | None = None
    """A table to evaluate on; inherited: that of `[data]`."""

    subset: str | None = None
    """Its configuration; inherited: that of `[data]`."""

    columns: list[str] = field(default_factory=list)
    """Its columns: the question, the document that answers it, documents that do not. Empty: those of `[data]`.
    Every document of every row is searched."""

    max_rows: int | None = None
    """Ask at most this many questions of a table, the first ones."""

    fields: list[View] = field(default_factory=list)
    """What a page shows the model: one row of the table each. Empty: what `[data] fields` says."""

    dims: list[int] = field(default_factory=list)
    """Embedding dimensions to report. Empty: those of `[loss.matryoshka]`, else the full one."""

    candidates: int = 100
    """Of a reranker: documents it puts into order per question. Of pages BM25's best; of a table the row's own and
    others drawn at random; or those that `retriever` finds."""

    retriever: str | None = None
    """Of a reranker: folder or name of an embedding model whose best documents it puts into order."""

    bm25: bool = True
    """Also measure BM25 over the documents' text, the baseline that needs no model."""

    untuned: bool = True
    """Also measure the model as it was before training."""


@dataclass(frozen=True)
class OutputConfig:
    """`[output]`: where everything the run writes goes."""

    dir: str
    """Folder for `resolved.toml`, checkpoints, results and the model (in `final`). Required."""

    overwrite: bool = False
    """Train again into a folder that already holds a finished run."""

    report: bool = True
    """Write `report.html`: the table, the dimension curve and the worst questions beside their pages."""

    verify: bool = True
    """Read the final model again and compare it with the one in memory, which needs room for both."""

    push_to_hub: str | None = None
    """Name on the Hub (user/name) the final model is uploaded to."""


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. `source` is the file it came from, for messages."""

    model: ModelConfig
    data: DataConfig
    output: OutputConfig
    loss: LossConfig = field(default_factory=LossConfig)
    more: dict[str, MoreConfig] = field(default_factory=dict)
    lora: LoraConfig | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    source: str = field(default="the recipe", metadata={"hidden": True})

    @property
    def trained_fields(self) -> list[View]:
        """The views of a page to train on."""
        return [self.data.fields] if isinstance(self.data.fields, str) else list(self.data.fields)

    @property
    def evaluated_fields(self) -> list[View]:
        """The views of a page to evaluate; by default those trained on."""
        return list(self.evaluation.fields) or self.trained_fields

    @property
    def evaluated_dims(self) -> list[int] | None:
        """The dimensions to evaluate, widest first; None for the full dimension only."""
        dims = self.evaluation.dims or (self.loss.matryoshka.dims if self.loss.matryoshka else [])
        return sorted(dims, reverse=True) or None
