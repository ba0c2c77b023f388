"""What the models view is told of runs: plain records of what their files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class System:
    """A row of a run's table.

    Attributes:
        name: "bm25", "untuned", "fine-tuned" or any other.
        fields: what of a page it saw.
        metrics: name -> mean.
        intervals: name -> 95% bootstrap interval.
        by_dim: embedding dimension -> name -> mean.
    """

    name: str
    fields: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    by_dim: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Named:
    """A row by its name and view."""

    name: str
    fields: str


@dataclass(frozen=True)
class Difference:
    """Two rows of a run's table on the same questions; see `sightline.evaluation.rows.Comparison`."""

    before: Named
    after: Named
    metric: str
    difference: float
    low: float
    high: float
    corrected_p: float
    better: int
    worse: int
    same: int
    verdict: str


@dataclass(frozen=True)
class Change:
    """What a training changed: the best system after it, against the same view before it."""

    before_name: str
    after_name: str
    fields: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class RunSummary:
    """A run in the list.

    Attributes:
        name: its folder.
        status: "unfinished" while it trains or after it was stopped; "unreadable" where its results cannot be read.
        problem: why they cannot.
        model: what was trained, as the recipe names it.
        dataset: name of the data's folder, with the one it lies in.
        fingerprint: of the questions and pages it was measured with; runs of different ones cannot be compared.
        questions, pages: how many it was measured with.
        metric, value: the deciding metric and its mean for the best system.
        change: None where only one system was measured.
        created: UTC, ISO 8601.
        step, max_steps: of an unfinished run, as last saved.
        report: whether there is an HTML report.
    """

    name: str
    status: Literal["finished", "unfinished", "unreadable"]
    problem: str | None = None
    model: str | None = None
    dataset: str | None = None
    fingerprint: str | None = None
    questions: int | None = None
    pages: int | None = None
    metric: str | None = None
    value: float | None = None
    change: Change | None = None
    created: str | None = None
    step: int | None = None
    max_steps: int | None = None
    report: bool = False


@dataclass(frozen=True)
class Run:
    """All that is shown of a run.

    Attributes:
        summary: as in the list.
        systems: in the order of its table.
        comparisons: what separates them.
        log: name -> number by optimizer step, see docs/tracking.md.
        log_metric: the evaluator's metric as the log names it, empty without one.
        recipe: the resolved recipe, as TOML.
        settings: the same as dotted key -> value.
        remarks: of the data doctor; None where it was not asked.
        hardware: what it was measured on.
        seconds: wall-clock time by stage.
    """

    summary: RunSummary
    systems: Sequence[System] = ()
    comparisons: Sequence[Difference] = ()
    log: Sequence[Mapping[str, float]] = ()
    log_metric: str = ""
    recipe: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[Mapping[str, Any]] | None = None
    hardware: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """The best system of a run, among others; ``low`` and ``high`` end its 95% bootstrap interval."""

    name: str
    system: str
    fields: str
    metric: str
    value: float
    low: float
    high: float
    model: str | None
    dataset: str | None
    fingerprint: str | None
    created: str | None


@dataclass(frozen=True)
class Apart:
    """What separates a run from the first of those compared, on the same questions."""

    run: str
    difference: float
    low: float
    high: float
    corrected_p: float
    better: int
    worse: int
    same: int
    verdict: str


@dataclass(frozen=True)
class RunComparison:
    """Runs beside each other.

    Attributes:
        comparable: whether they were measured with the same questions and pages.
        reason: why they were not.
        metric: what is compared; None where nothing can be.
        runs: in the order asked for.
        differences: of each but the first, against the first.
    """

    comparable: bool
    reason: str | None
    metric: str | None
    runs: Sequence[Compared]
    differences: Sequence[Apart] = ()
