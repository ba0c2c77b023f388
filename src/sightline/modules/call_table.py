"""The table of calls: which method of a transformers model takes which modality, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Modality = str | tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A method of the model and the path to the wanted entry of its output (None: the output itself)."""

    method: str = "forward"
    output: str | tuple[str | int, ...] | None = "last_hidden_state"


@dataclass(frozen=True)
class CallTable:
    """Calls per modality, and the feature they write.

    Attributes:
        calls: modality -> call. ``"message"`` stands for chat messages.
        writes: ``token_embeddings`` or ``sentence_embedding``.
    """

    calls: Mapping[Modality, Call]
    writes: str = "token_embeddings"

    def groups(self) -> dict[Modality, str]:
        """Modality -> name shared by modalities that may share a forward pass."""
        if "message" in self.calls:
            return dict.fromkeys(self.calls, "message")
        return {key: "+".join(key) if isinstance(key, tuple) else key for key in self.calls}
