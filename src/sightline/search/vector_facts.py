"""What is known of the vectors of a finished index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sightline.errors import SearchIndexError
from sightline.search.approximate import Approximate, Plan
from sightline.search.options import VectorOptions


@dataclass(frozen=True)
class VectorFacts:
    """How vectors are kept and searched, and what that takes.

    Attributes:
        precision: "float32", "float16", "int8" or "binary".
        dims: prefixes that can be searched, widest first.
        rescore: whether float16 originals put into order what coarser vectors found.
        token_pooling: tokens merged into one, 1 for none.
        bytes_per_page: of the vectors, all prefixes and originals together.
        plan: how they were asked to be searched.
        approximate: how each prefix is searched; nothing where all vectors are compared.
    """

    precision: str
    dims: tuple[int, ...]
    rescore: bool
    token_pooling: float
    bytes_per_page: float
    plan: Plan
    approximate: tuple[Approximate, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "dims": list(self.dims),
            "approximate": [how.to_json() for how in self.approximate],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> VectorFacts:
        """What `to_json` gave.

        Raises:
            SearchIndexError: something of it is missing.
        """
        try:
            return VectorFacts(
                precision=values["precision"],
                dims=tuple(values["dims"]),
                rescore=values["rescore"],
                token_pooling=values["token_pooling"],
                bytes_per_page=values["bytes_per_page"],
                plan=Plan(**values["plan"]),
                approximate=tuple(map(Approximate.from_json, values["approximate"])),
            )
        except (KeyError, TypeError) as error:
            raise SearchIndexError(
                f"the index does not say how its vectors are searched ({error}); build it again with `sightline index`"
            ) from error

    @property
    def options(self) -> VectorOptions:
        """What makes another version kept and searched like this one."""
        return VectorOptions(
            self.precision, self.dims[1:], self.rescore, self.token_pooling, self.plan.kind, self.plan.recall
        )

    def sentences(self) -> list[str]:
        """What to tell a person, a line each."""
        widest = self.dims[0]
        prefixes = f", prefixes {', '.join(map(str, self.dims[1:]))}" if len(self.dims) > 1 else ""
        originals = " with float16 originals" if self.rescore else ""
        lines = [
            f"Vectors: {widest} dimensions{prefixes}, {self.precision}{originals}, "
            f"{self.bytes_per_page:,.0f} bytes a page"
        ]
        if not self.approximate:
            return [*lines, "Search: exact, all vectors are compared"]
        for how in self.approximate:
            through = (
                f"{how.index}, {how.nprobes} of {how.partitions} partitions"
                if how.index
                else "pooled vectors"
            )
            lines.append(
                f"Search at {how.dim}: {through}; recall@10 {how.recall:.3f} against exact search on {how.sample} "
                f"{how.queries} (asked for: {how.target:g}); {how.ms:.1f} ms, exact {how.ms_exact:.1f} ms"
            )
        return lines
