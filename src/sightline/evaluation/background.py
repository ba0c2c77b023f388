"""What came before a measurement, kept beside its results: the recipe, the log, what the data doctor found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_WORDS = ("severity", "title", "where", "message", "advice")


@dataclass(frozen=True)
class Remark:
    """A kind of trouble with the data.

    Attributes:
        severity: ``"error"``, ``"warning"`` or ``"note"``.
        title: what it is.
        count: how many cases there are.
        where: the place of the first.
        message: what is wrong there.
        advice: what to do.
    """

    severity: str
    title: str
    count: int
    where: str
    message: str
    advice: str


@dataclass(frozen=True)
class Background:
    """How a measured model came about; empty where it was only measured.

    Attributes:
        log: transformers' ``log_history``: name -> number, with ``step``.
        metric: the evaluator's primary metric as the log has it, ``"eval_ndcg@10"``; empty without evaluator.
        recipe: the resolved recipe, as TOML.
        remarks: of the data doctor; None where it was not asked.
    """

    log: Sequence[Mapping[str, float]] = ()
    metric: str = ""
    recipe: str = ""
    remarks: Sequence[Remark] | None = None

    def to_json(self) -> dict[str, Any]:
        """Values that `json` writes; figures that are not finite are left out of the log."""
        return {
            "recipe": self.recipe,
            "metric": self.metric,
            "remarks": None if self.remarks is None else [asdict(remark) for remark in self.remarks],
            "log": [
                {
                    name: value
                    for name, value in entry.items()
                    if isinstance(value, (int, float)) and math.isfinite(value)
                }
                for entry in self.log
            ],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Background:
        """What `to_json` gave.

        Raises:
            KeyError, TypeError: it did not.
        """
        remarks = values["remarks"]
        return Background(
            log=[dict(entry) for entry in values["log"]],
            metric=str(values["metric"]),
            recipe=str(values["recipe"]),
            remarks=None if remarks is None else remarks_of(remarks),
        )


def remarks_of(findings: Iterable[Mapping[str, Any]]) -> list[Remark]:
    """Findings as the data doctor writes them into JSON.

    Raises:
        KeyError: something is missing.
    """
    return [
        Remark(count=int(found["count"]), **{name: str(found[name]) for name in _WORDS}) for found in findings
    ]
