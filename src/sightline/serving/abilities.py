"""What an encoder takes and gives, found once: finding it takes longer than embedding a short text."""

from __future__ import annotations

from dataclasses import dataclass, field

from sightline.models.encoder import Encoder
from sightline.modules.heads import Normalize


@dataclass(frozen=True)
class Abilities:
    """Facts of an encoder that do not change while it is served.

    Attributes:
        modalities: as of `Encoder.modalities`.
        dim: components of a vector.
        given_dim: components it gives unless told otherwise.
        multi_vector: whether there is a vector per token.
        unit_length: whether vectors have length 1, or are compared as if they had.
        max_tokens: tokens an item is cut at; None without a limit.
    """

    encoder: Encoder
    modalities: tuple[str, ...]
    dim: int
    given_dim: int
    multi_vector: bool
    unit_length: bool
    max_tokens: int | None
    _supported: dict[frozenset[str], bool] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, encoder: Encoder) -> Abilities:
        """Those of ``encoder``."""
        width = encoder.embedding_dim
        normalized = any(isinstance(part, Normalize) for part in encoder.modules())
        return cls(
            encoder,
            encoder.modalities,
            width,
            encoder.truncate_dim or width,
            encoder.multi_vector,
            normalized or encoder.similarity_fn_name == "cosine",
            encoder.preprocessor.max_tokens,
        )

    def supports(self, modalities: frozenset[str]) -> bool:
        """As of `Encoder.supports`."""
        found = self._supported.get(modalities)
        if found is None:
            found = self._supported[modalities] = self.encoder.supports(modalities)
        return found
