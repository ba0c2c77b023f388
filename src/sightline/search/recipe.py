"""What the vectors of an index are made by: equal recipes make equal vectors of equal pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.models.fingerprint import fingerprint
from sightline.search.layout import Layout
from sightline.search.options import VectorOptions
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
        similarity: "cosine", "dot" or "euclidean"; of token vectors "maxsim" or "meanmaxsim".
        dims: the prefixes that can be searched, widest first.
        precision: of the numbers that are kept.
        rescore: whether float16 originals are kept beside.
        token_pooling: tokens merged into one, 1 for none.
    """

    fingerprint: str
    prompt: str | None
    fields: Fields
    dim: int
    model_dim: int
    similarity: str
    dims: tuple[int, ...]
    precision: str
    rescore: bool
    token_pooling: float

    @staticmethod
    def of(
        encoder: Encoder, shown: Fields, dims: tuple[int, int], similarity: str, options: VectorOptions
    ) -> Recipe:
        """For a model; ``dims`` are the components kept, and those it gives.

        Raises:
            SearchIndexError: options that are not for this model.
        """
        layout = options.layout(encoder, dims[0], similarity)
        return Recipe(
            fingerprint(encoder),
            encoder.prompt_for("document"),
            shown,
            *dims,
            similarity,
            layout.dims,
            layout.precision,
            layout.rescore,
            float(options.token_pooling),
        )

    @property
    def layout(self) -> Layout:
        """The columns of vectors; int8 without its ranges."""
        return Layout(self.dims, self.precision, self.similarity, self.rescore)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"dims": list(self.dims)}

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
        return Recipe(**{name: values[name] for name in names} | {"dims": tuple(values["dims"])})
