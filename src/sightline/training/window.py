"""What happened between two log lines: each loss part, and how much was embedded."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sightline.types import Batch


@dataclass
class LogWindow:
    """Sums since the last log line. Loss parts stay on the device until they are logged."""

    steps: float = 0.0
    parts: dict[str, Tensor] = field(default_factory=dict)
    items: int = 0
    tokens: int = 0
    patches: int = 0
    padded_tokens: int = 0
    passes: int = 0
    embedded_twice: int = 0

    def add(self, parts: dict[str, Tensor], batch: Batch, *, twice: int, share: float) -> None:
        """One batch, which is ``share`` of an optimizer step."""
        self.steps += share
        for name, part in parts.items():
            before = self.parts.get(name)
            self.parts[name] = part * share if before is None else before + part * share
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

        ``padding`` is the share of padded token positions that hold no token.
        """
        if not self.steps:
            return {}
        logs = {name: float(part) / self.steps for name, part in self.parts.items()}
        for name in ("items", "tokens", "patches", "passes", "embedded_twice"):
            count = vars(self)[name]
            if count or name != "patches":
                logs[name] = round(count / self.steps, 2)
        logs["padding"] = round(1 - self.tokens / self.padded_tokens, 4) if self.padded_tokens else 0.0
        return logs
