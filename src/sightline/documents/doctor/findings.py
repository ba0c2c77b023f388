"""What the doctor can find, and what it says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
# Places of one kind that a diagnosis keeps; all are counted.
KEPT_PLACES = 100
# Kinds whose cases say different things, so that each is a finding of its own.
APART = ("size", "label-balance", "estimate")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        severity: ``"error"`` stops a training run, ``"warning"`` makes it worse or its figures wrong, ``"note"``
            is to be known.
        title: what was found, in a few words.
        advice: what to do.
    """

    severity: Severity
    title: str
    advice: str


_ANEW = "delete the file and run the same `sightline ingest` again, or leave it out with --fix"

KINDS: dict[str, Kind] = {
    "empty": Kind("error", "nothing in it", "ingest a folder that has documents"),
    "unreadable": Kind("error", "cannot be read", _ANEW),
    "changed": Kind("error", "changed since it was ingested", _ANEW),
    "missing-page": Kind("error", "page of a question is missing", "mend the question file, or use --fix"),
    "empty-question": Kind("error", "question is empty", "write it, or leave it out with --fix"),
    "label-missing": Kind("error", "label is missing or no number", "fill it in, or use --fix"),
    "refused": Kind("error", "refused by the model", "shorten or shrink it, or use --fix"),
    "leak": Kind(
        "warning",
        "trained on what is measured with",
        "take it out of training, with --fix; else the figures are too good",
    ),
    "near-leak": Kind(
        "warning",
        "trained on what is nearly measured with",
        "look at both; --fix takes it out of training",
    ),
    "same-split": Kind("warning", "measured on what it is trained on", "choose another evaluation.split"),
    "several-answers": Kind(
        "warning",
        "answered by further pages",
        "name every page that answers it, or leave it out with --fix",
    ),
    "duplicate-question": Kind("warning", "question occurs twice", "keep one of them; --fix keeps the first"),
    "blank-answer": Kind("warning", "answered by a blank page", "look at the page; --fix leaves it out"),
    "negative-is-positive": Kind("warning", "negative is a right answer", "--fix takes the negative out"),
    "negative-like-positive": Kind(
        "warning", "negative is nearly a right answer", "look at both; --fix takes the negative out"
    ),
    "stale-negatives": Kind("warning", "negatives are out of date", "run `sightline mine` again"),
    "feedback-gone": Kind(
        "warning",
        "feedback about pages that are gone",
        "run `sightline feedback export` again; forget what is about documents that are no more",
    ),
    "no-text": Kind(
        "warning", "answered by a page without text", "train on images or both, or ingest with OCR"
    ),
    "long-question": Kind("warning", "question is cut", "shorten it, or raise the model's length"),
    "label-constant": Kind("warning", "all labels are the same", "a loss learns nothing from them"),
    "blank": Kind("note", "blank page", "nothing, or leave it out of the documents"),
    "duplicate": Kind("note", "same page again", "nothing: training and search count it once or twice"),
    "near-duplicate": Kind("note", "nearly the same page", "nothing, if both are meant to be found"),
    "similar-answer": Kind(
        "note", "answered by a nearly equal page", "name that page too, if it answers the question"
    ),
    "oversize": Kind("note", "far larger than a model sees", "make it smaller once, and steps get faster"),
    "cut": Kind("note", "longer than the model reads", "raise the model's length, if its end matters"),
    "reduced": Kind("note", "made smaller for the model", "raise max_pixels, if small print matters"),
    "size": Kind("note", "size of the items", "nothing; steps take as long as their tokens and patches"),
    "label-balance": Kind("note", "labels", "few of one kind learn slowly: weigh them, or find more"),
    "skipped": Kind("note", "file was not ingested", "see its error, or leave it as it is"),
    "no-questions": Kind("note", "no questions", "give some with `sightline ingest --questions FILE`"),
    "not-examined": Kind("note", "not examined", "nothing; it is read when it is needed"),
    "feedback": Kind("note", "questions from feedback", "nothing; `sightline feedback report` tells more"),
    "feedback-contradiction": Kind(
        "note", "feedback that contradicts itself", "look at it; more voices decide, and a tie is left out"
    ),
    "negative-passed-over": Kind(
        "note", "negative that training passes over", "nothing, or export the feedback again"
    ),
    "estimate": Kind("note", "estimate", "an estimate from a few measured steps, not a promise"),
}


@dataclass(frozen=True, slots=True)
class Drop:
    """What is taken out to cure a case.

    Attributes:
        what: a page (or cell of a table), a question (or row), or a negative of a question.
        index: of the page or question in `Contents`.
        sheet: of a negative, its index among the pages.
    """

    what: Literal["sheet", "question", "negative"]
    index: int
    sheet: int = -1


@dataclass(frozen=True, slots=True)
class Case:
    """One instance of a kind.

    Attributes:
        kind: a key of `KINDS`.
        where: the page, question or row.
        message: what is wrong there.
        drops: what cures it.
        severity: in place of the kind's own.
    """

    kind: str
    where: str
    message: str
    drops: tuple[Drop, ...] = ()
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """All cases of one kind.

    Attributes:
        kind: a key of `KINDS`.
        severity: how bad it is.
        where: the place of the first case.
        message: what is wrong there.
        count: how many cases there are.
        places: the places of the first hundred.
    """

    kind: str
    severity: Severity
    where: str
    message: str
    count: int
    places: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return KINDS[self.kind].title

    @property
    def advice(self) -> str:
        return KINDS[self.kind].advice

    def line(self) -> str:
        """The finding in one line."""
        times = f"{self.count:,} x " if self.count > 1 else ""
        return f"{self.severity}: {times}{self.title}, {self.where}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "count": self.count,
            "where": self.where,
            "message": self.message,
            "advice": self.advice,
            "places": list(self.places),
        }


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        subject: what was examined.
        cases: everything found, in the order of looking.
        counts: how many pages, questions and so on were looked at.
        seconds: wall-clock time.
    """

    subject: str
    cases: tuple[Case, ...]
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The cases by kind, the worst first, in the order of `KINDS`."""
        by_kind: dict[tuple[str, Severity, str], list[Case]] = {}
        for case in self.cases:
            place = f"{case.where}: {case.message}" if case.kind in APART else ""
            by_kind.setdefault((case.kind, _severity(case), place), []).append(case)
        order = list(KINDS)
        found = [_finding(severity, cases) for (_, severity, _), cases in by_kind.items()]
        return tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), order.index(one.kind))))

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.severity == "warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.severity == "note")

    def exit_code(self, *, strict: bool = False) -> int:
        """0 without errors, 1 with some; with ``strict`` 3 where there are warnings only."""
        if self.errors:
            return 1
        return 3 if strict and self.warnings else 0

    def summary(self) -> str:
        """One sentence for the terminal."""
        looked = ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count)
        tally = Counter(one.severity for one in self.findings)
        found = ", ".join(
            f"{tally[name]} kind{'s' if tally[name] > 1 else ''} of {name}s"
            for name in SEVERITIES
            if tally[name]
        )
        return (
            f"{self.subject}: {looked or 'nothing'} examined in {self.seconds:.1f} s; {found or 'all well'}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "counts": dict(self.counts),
            "seconds": round(self.seconds, 3),
            "findings": [one.to_json() for one in self.findings],
        }


def _severity(case: Case) -> Severity:
    return case.severity or KINDS[case.kind].severity


def _finding(severity: Severity, cases: Sequence[Case]) -> Finding:
    first = cases[0]
    places = tuple(case.where for case in cases[:KEPT_PLACES])
    return Finding(first.kind, severity, first.where, first.message, len(cases), places)


def curable(cases: Iterable[Case]) -> list[Case]:
    """The cases that ``--fix`` cures: errors and warnings, with what is to be taken out."""
    return [case for case in cases if case.drops and _severity(case) != "note"]
