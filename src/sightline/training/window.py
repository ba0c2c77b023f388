"""What happened between two log lines: each loss part, and how much was embedded."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sightline.types import Batch


@dataclass
class LogWindow:
    """Sums since the last log line. Loss parts stay on the device until they are logged.

    Where a run has several datasets, the parts of each are kept apart, with the dataset's name in front.

    Attributes:
        seconds: wall-clock time of the steps, with the waiting for data and without evaluations and checkpoints.
    """

    steps: float = 0.0
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    items: int = 0
    tokens: int = 0
    patches: int = 0
    padded_tokens: int = 0
    passes: int = 0
    embedded_twice: int = 0
    seconds: float = 0.0

    def add(self, parts: dict[str, Tensor], batch: Batch, *, twice: int, share: float) -> None:
        """One batch, which is ``share`` of an optimizer step."""
        self.steps += share
        if parts:
            name = batch.dataset
            self.shares[name] = self.shares.get(name, 0.0) + share
            self.batches[name] = self.batches.get(name, 0) + 1
            sums = self.parts.setdefault(name, {})
            for part, value in parts.items():
                sums[part] = sums[part] + value * share if part in sums else value * share
        self.items += batch.num_items
        micro_batches = list(batch.micro_batches)
        for micro_batch in micro_batches:
            self.tokens += micro_batch.cost.tokens
            self.patches += micro_batch.cost.patches
            self.padded_tokens += micro_batch.padded_tokens
        self.passes += len(micro_batches)
        self.embedded_twice += twice

    def means(self) -> dict[str, float]:
        """Means per optimizer step, by name.

        ``padding`` is the share of padded token positions that hold no token. Of each of several datasets: the mean
        over its own batches of each part (``nli_infonce``) and of their sum (``nli_loss``), and how many batches it
        had (``nli_batches``).

        ``reembedded`` is the share of micro-batches that were embedded a second time. ``items_per_second``,
        ``tokens_per_second`` and ``patches_per_second`` are this process's own; padding does not count.
        """
        if not self.steps:
            return {}
        logs: dict[str, float] = {}
        for dataset, sums in self.parts.items():
            means = {name: float(value) / self.shares[dataset] for name, value in sums.items()}
            if dataset:
                own = means | {"loss": sum(means.values()), "batches": self.batches[dataset]}
                means = {f"{dataset}_{name}": value for name, value in own.items()}
            logs |= means
        for name in ("items", "tokens", "patches", "passes", "embedded_twice"):
            count = vars(self)[name]
            if count or name != "patches":
                logs[name] = round(count / self.steps, 2)
        logs["reembedded"] = round(self.embedded_twice / self.passes, 4) if self.passes else 0.0
        for name in ("items", "tokens", "patches"):
            if name in logs and self.seconds > 0:
                logs[f"{name}_per_second"] = round(vars(self)[name] / self.seconds, 2)
        logs["padding"] = round(1 - self.tokens / self.padded_tokens, 4) if self.padded_tokens else 0.0
        return logs
