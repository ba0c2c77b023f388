"""Training arguments: transformers' names, and a few of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import torch
import transformers

from sightline.errors import ConfigError
from sightline.training.feeding import BATCHES_PER_WORKER, spare_cores
from sightline.training.limits import Limits, parse_bytes
from sightline.training.streams import StreamSettings

StepMode = Literal["auto", "direct", "cached"]
BatchSampler = Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label"]
OnBadRow = Literal["stop", "skip"]
OnBadLoss = Literal["stop", "skip"]


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """`transformers.TrainingArguments` under the same names, plus the fields below.

    ``eval_steps``, ``save_steps`` and ``logging_steps`` below 1 are shares of the whole run. The learning
    rate falls linearly to zero unless ``lr_scheduler_type`` says otherwise. ``report_to`` is "none" unless
    set. ``load_best_model_at_end`` and ``save_strategy="best"`` go by ``metric_for_best_model``, which is the
    evaluator's primary metric unless set.

    Raises:
        ConfigError: a value is out of its range, or contradicts another.
    """

    # Whether columns that `prompts` does not name get the model's own.
    own_prompts: ClassVar[bool] = True

    warmup_ratio: float | None = field(
        default=None,
        metadata={
            "help": "Share of all steps over which the learning rate rises from 0 (or use warmup_steps)."
        },
    )
    micro_batch: str | int = field(
        default="auto",
        metadata={
            "help": "Items per forward pass: a number, or 'auto', which packs items by tokens into as much "
            "as suits the device and its memory. Changes time and memory, never the gradients."
        },
    )
    token_budget: int | None = field(
        default=None,
        metadata={
            "help": "Tokens per forward pass (four vision patches count as one). None leaves it to the plan "
            "made before the first step."
        },
    )
    memory_budget: float | str | None = field(
        default=None,
        metadata={
            "help": "Memory the training process may take in all, in bytes or as in '8GB'. None takes the GPU's "
            "free memory, or on the CPU the machine's available memory within the control group's limit."
        },
    )
    step_mode: str = field(
        default="auto",
        metadata={
            "help": "'direct' keeps every graph, 'cached' embeds everything twice in the memory of one "
            "forward pass, 'auto' keeps as many graphs as fit into free memory. The gradients are the same."
        },
    )
    on_bad_row: str = field(
        default="stop",
        metadata={
            "help": "Rows that cannot be read: 'stop' before the first step with a list of them, or 'skip' "
            "them."
        },
    )
    on_bad_loss: str = field(
        default="stop",
        metadata={
            "help": "A loss or gradients that are not finite: 'stop' with the rows of the batch, or 'skip' what "
            "they would have changed."
        },
    )
    check_data: bool = field(
        default=True,
        metadata={
            "help": "Read and preprocess every row once before the first step, to find bad rows early."
        },
    )
    columns: Any = field(
        default=None,
        metadata={"help": "Dataset columns to use, anchor first; or such a list per dataset. None uses all."},
    )
    roles: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "Column -> 'query' or 'document', or that per dataset. By default the first is the query, others "
            "documents."
        },
    )
    prompts: Any = field(
        default=None,
        metadata={
            "help": "Text put in front of items: one for all columns, column -> text, or either per dataset; '' for "
            "none. By default the model's own query and document prompts."
        },
    )
    learning_rates: dict[str, float] | None = field(
        default=None,
        metadata={
            "help": "Learning rates of their own, by route ('image'), part of the backbone ('vision', 'language') or "
            "beginning of weights' names ('parts.2'). Where several mean a weight, the last one holds."
        },
    )
    learning_rate_mapping: dict[str, float] | None = field(
        default=None,
        metadata={"help": "The same by regular expression over weights' names, as in Sentence Transformers."},
    )
    freeze: list[str] | None = field(
        default=None,
        metadata={
            "help": "What is not trained in this run, by the same names as in learning_rates. A route "
            "that is frozen as a whole embeds each item once."
        },
    )
    router_mapping: dict[str, str] | None = field(
        default=None, metadata={"help": "Sentence Transformers' name for roles."}
    )
    batch_sampler: str = field(
        default="batch_sampler",
        metadata={
            "help": "'batch_sampler' shuffles; 'group_by_label' gives each batch several rows of each label, for "
            "losses over single items. 'no_duplicates' and 'no_duplicates_hashed' shuffle as well: contents that "
            "repeat are no negatives of each other here."
        },
    )
    multi_dataset_batch_sampler: Any = field(
        default="proportional",
        metadata={
            "help": "How several training datasets take turns: 'proportional' (all rows of each), 'round_robin' (as "
            "many batches of each, until one has no more), or a weight per dataset by name."
        },
    )
    stream_buffer: int = field(
        default=1000,
        metadata={"help": "Rows of a stream that are held to draw the next one from; 1 keeps their order."},
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True,
        metadata={"help": "A resumed run's callbacks (early stopping, say) go on from what they knew."},
    )
    dataloader_num_workers: int | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Processes that read and preprocess rows. None takes the spare cores, at most 8."},
    )
    feed_bytes: float | str = field(
        default="1GiB",
        metadata={
            "help": "Prepared batches that may wait for the model, in bytes or as in '1GiB', on each rank. A single "
            "batch may be larger."
        },
    )
    preprocess_cache: str | None = field(
        default=None,
        metadata={
            "help": "Folder that keeps prepared images, recordings and videos, so that later epochs and runs with "
            "the same processor need not open them again."
        },
    )
    preprocess_cache_bytes: float | str = field(
        default="50GB",
        metadata={"help": "How large that folder may grow; the items used longest ago go first."},
    )

    def __post_init__(self) -> None:
        choices = {
            "step_mode": StepMode, "on_bad_row": OnBadRow, "on_bad_loss": OnBadLoss, "batch_sampler": BatchSampler,
        }  # fmt: skip
        for name, kind in choices.items():
            if vars(self)[name] not in get_args(kind):
                allowed = ", ".join(map(repr, get_args(kind)))
                raise ConfigError(f"{name} must be one of {allowed}, not {vars(self)[name]!r}")
        if self.token_budget is not None and self.token_budget < 1:
            raise ConfigError(f"token_budget must be at least 1 or None, not {self.token_budget}")
        if self.stream_buffer < 1:
            raise ConfigError(
                f"stream_buffer must be at least 1 (which keeps the order), not {self.stream_buffer}"
            )
        if self.micro_batch != "auto" and (isinstance(self.micro_batch, (str, bool)) or self.micro_batch < 1):
            raise ConfigError(f"micro_batch must be 'auto' or at least 1, not {self.micro_batch!r}")
        if self.memory_budget is not None:
            parse_bytes(self.memory_budget, "memory_budget")
        for name in ("feed_bytes", "preprocess_cache_bytes"):
            parse_bytes(vars(self)[name], name)
        if self.per_device_train_batch_size < 1:
            raise ConfigError(
                f"per_device_train_batch_size must be at least 1, not {self.per_device_train_batch_size}"
            )
        if self.warmup_ratio is not None:
            if not 0 <= self.warmup_ratio < 1:
                raise ConfigError(
                    f"warmup_ratio is a share of the run, from 0 to below 1, not {self.warmup_ratio}"
                )
            if self.warmup_steps and self.warmup_steps != self.warmup_ratio:
                raise ConfigError("give warmup_ratio or warmup_steps, not both")
            self.warmup_steps = self.warmup_ratio
        for name in ("learning_rates", "learning_rate_mapping"):
            for key, rate in (vars(self)[name] or {}).items():
                if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate >= 0:
                    raise ConfigError(f"{name}: the rate of {key!r} must be a number from 0, not {rate!r}")
        if isinstance(self.freeze, str):
            raise ConfigError(f"freeze is a list of names, such as [{self.freeze!r}]")
        if self.router_mapping:
            if self.roles and self.roles != self.router_mapping:
                raise ConfigError("give roles or router_mapping, not both: they are two names of one thing")
            self.roles = self.router_mapping
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = spare_cores()
        if self.gradient_checkpointing is not None:
            # The name people know; transformers warns about it since it has a new one.
            self.activation_checkpointing, self.gradient_checkpointing = self.gradient_checkpointing, None
        if not torch.accelerator.is_available():
            # transformers allows bf16 on a machine without accelerator only when told that the CPU is meant.
            self.use_cpu = True
        self.metric_was_chosen = self.metric_for_best_model is not None
        # Ours compiles the layers; accelerate would compile the whole encoder, again for every shape.
        self.compiles = bool(self.torch_compile or self.torch_compile_backend or self.torch_compile_mode)
        self.compile_backend, self.compile_mode = self.torch_compile_backend, self.torch_compile_mode
        self.torch_compile, self.torch_compile_backend, self.torch_compile_mode = False, None, None
        super().__post_init__()
        if self.autocast is not None:
            # The step casts around the model's calls; accelerate would replace the encoder's forward for good.
            self.mixed_precision = "no"

    @property
    def limits(self) -> Limits:
        """The limits of a micro-batch that these arguments set; what the plan decides is left open."""
        return Limits(self.token_budget, None if self.micro_batch == "auto" else int(self.micro_batch))

    @property
    def order_seed(self) -> int:
        """What the order of the rows is drawn from."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def streams(self) -> StreamSettings:
        """How streams are read: with enough rows remembered to make any batch again that is under way."""
        ahead = 2 + (self.dataloader_num_workers or 0) * (
            self.dataloader_prefetch_factor or BATCHES_PER_WORKER
        )
        keep = self.train_batch_size * self.world_size * self.gradient_accumulation_steps * ahead
        return StreamSettings(self.order_seed, self.stream_buffer, max(64, keep))

    @property
    def memory_budget_bytes(self) -> int | None:
        """`memory_budget` as a number."""
        return None if self.memory_budget is None else parse_bytes(self.memory_budget, "memory_budget")

    @property
    def autocast(self) -> torch.dtype | None:
        """Type the step computes in; None for the weights', or where accelerate sees to it (fp16)."""
        return torch.bfloat16 if self.bf16 else None
