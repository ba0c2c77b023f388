"""What the vectors of an index are made by: equal recipes make equal vectors of equal pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.models.fingerprint import fingerprint
from sightline.search.pages import Fields

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model and how it is used.

    Attributes:
        fingerprint: of the model, see `sightline.models.fingerprint`.
        prompt: put before every page, None for none.
        fields: what of a page is embedded.
        dim: components kept.
        model_dim: components the model gives.
        similarity: "cosine", "dot" or "euclidean".
    """

    fingerprint: str
    prompt: str | None
    fields: Fields
    dim: int
    model_dim: int
    similarity: str

    @staticmethod
    def of(encoder: Encoder, shown: Fields, dims: tuple[int, int], similarity: str) -> Recipe:
        """For a model; ``dims`` are the components kept, and those it gives."""
        prompt = encoder.prompt_for("document")
        return Recipe(fingerprint(encoder), prompt, shown, *dims, similarity)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Recipe:
        """What `to_json` gave.

        Raises:
            SearchIndexError: something of it is missing.
        """
        names = [field.name for field in fields(Recipe)]
        missing = [name for name in names if name not in values]
        if missing:
            raise SearchIndexError(
                f"the index does not say by which {missing[0]} its vectors were made; build it again"
            )
        return Recipe(**{name: values[name] for name in names})
