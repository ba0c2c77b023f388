"""A folder of runs, as the models view shows it: what there is, what came of each, and several beside each other.

Only files that `sightline train`, `eval` and `compare` write are read, and only in the folders that lie directly in it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sightline.errors import DataError
from sightline.evaluation.rows import BASELINE, Row, compare_all
from sightline.evaluation.saved import SavedResults, read_results, results_values
from sightline.runs.settings import CHECKPOINTS
from sightline.runs.shelf_records import (
    Apart,
    Change,
    Compared,
    Difference,
    Named,
    Run,
    RunComparison,
    RunSummary,
    System,
)
from sightline.runs.train import REPORT, RESOLVED, RESULTS
from sightline.training.saving import Checkpoints

_STATE = "trainer_state.json"


class Shelf:
    """The runs in one folder.

    Args:
        folder: that of all runs, such as ``runs``; or that of a single run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def all(self) -> list[RunSummary]:
        """All runs, newest first; those whose results cannot be read among them, with the reason."""
        found = [self._summary(name, place) for name, place in self._places().items()]
        return sorted(found, key=lambda run: (run.created or "", run.name), reverse=True)

    def run(self, name: str) -> Run:
        """One run.

        Raises:
            DataError: there is none of that name.
        """
        place = self._place(name)
        summary = self._summary(name, place)
        recipe = _text(place / RESOLVED)
        if summary.status == "unfinished":
            return Run(summary, log=_saved_log(place)[0], recipe=recipe, settings=_flat(recipe))
        if summary.status == "unreadable":
            return Run(summary, recipe=recipe, settings=_flat(recipe))
        return _finished(summary, _values(place / RESULTS))

    def report(self, name: str) -> Path:
        """The run's HTML report.

        Raises:
            DataError: there is no such run, or it has none.
        """
        path = self._place(name) / REPORT
        if not path.is_file():
            raise DataError(f"run '{name}' has no report")
        return path

    def compare(self, names: Sequence[str]) -> RunComparison:
        """The best systems of several runs, the first of them the one that the others are compared with.

        Raises:
            DataError: fewer than two, one twice, no such run, or one without results.
        """
        if len(names) < 2 or len(set(names)) < len(names):
            raise DataError("name two runs or more, each once")
        chosen = {name: _chosen(name, self._place(name)) for name in names}
        runs = [_compared(name, saved, row) for name, (saved, row) in chosen.items()]
        reason = _incomparable(runs, [saved for saved, _ in chosen.values()])
        if reason is not None:
            return RunComparison(False, reason, None, runs)
        first, *others = [row for _, row in chosen.values()]
        try:
            found = compare_all([(first, other) for other in others], metric=first.result.primary)
        except DataError as error:
            return RunComparison(False, f"{error}.", None, runs)
        differences = [
            Apart(
                name,
                one.difference.mean,
                one.difference.low,
                one.difference.high,
                one.corrected_p,
                one.better,
                one.worse,
                one.same,
                one.verdict,
            )
            for name, one in zip(names[1:], found, strict=True)
        ]
        return RunComparison(True, None, first.result.primary, runs, differences)

    def _places(self) -> dict[str, Path]:
        """Name -> folder; the folder itself where it is a run's."""
        if _is_run(self.folder):
            return {self.folder.resolve().name: self.folder}
        try:
            return {place.name: place for place in sorted(self.folder.iterdir()) if _is_run(place)}
        except OSError:
            return {}  # made by the first training

    def _place(self, name: str) -> Path:
        """A name is looked up, never made into a path."""
        place = self._places().get(name)
        if place is None:
            raise DataError(f"there is no run '{name}'")
        return place

    def _summary(self, name: str, place: Path) -> RunSummary:
        report = (place / REPORT).is_file()
        recipe = _flat(_text(place / RESOLVED))
        model, data = _short(recipe.get("model.name")), _short(recipe.get("data.dataset"))
        if not (place / RESULTS).is_file():
            log, facts = _saved_log(place)
            created = datetime.fromtimestamp((place / RESOLVED).stat().st_mtime, UTC).isoformat(
                timespec="seconds"
            )
            step = max((int(entry["step"]) for entry in log if "step" in entry), default=None)
            most = facts.get("max_steps")
            return RunSummary(
                name,
                "unfinished",
                model=model,
                dataset=data,
                created=created,
                step=step,
                max_steps=int(most) if isinstance(most, int) and most > 0 else None,
            )
        try:
            return _told(name, _values(place / RESULTS), report)
        except DataError:
            problem = "Its results.json is damaged, or was written by an older version; measure it again."
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            problem = f"Its results.json is damaged ({type(error).__name__})."
        return RunSummary(name, "unreadable", problem, model=model, dataset=data, report=report)


def _told(name: str, values: Mapping[str, Any], report: bool) -> RunSummary:
    facts, rows = values["facts"], values["rows"]
    best = _headline(values["comparisons"])
    if best is None:
        row = max(rows, key=lambda one: float(one[one["primary"]]))
        metric, value, change = row["primary"], float(row[row["primary"]]), None
    else:
        metric, value = best["metric"], float(best["after_mean"])
        change = Change(
            best["before"]["name"],
            best["after"]["name"],
            best["after"]["fields"],
            float(best["before_mean"]),
            value,
            float(best["difference"]),
            float(best["low"]),
            float(best["high"]),
            best["verdict"],
        )
    return RunSummary(
        name,
        "finished",
        model=_short(facts.get("model")),
        dataset=_short(facts.get("dataset")),
        fingerprint=_string(facts.get("fingerprint")),
        questions=facts.get("questions"),
        pages=facts.get("pages"),
        metric=metric,
        value=value,
        change=change,
        created=_string(facts.get("created")),
        report=report,
    )


def _finished(summary: RunSummary, values: Mapping[str, Any]) -> Run:
    background, facts = values.get("background") or {}, values["facts"]
    recipe = background.get("recipe", "")
    return Run(
        summary,
        systems=[_system(row) for row in values["rows"]],
        comparisons=[
            Difference(
                Named(one["before"]["name"], one["before"]["fields"]),
                Named(one["after"]["name"], one["after"]["fields"]),
                **{
                    name: one[name]
                    for name in (
                        "metric", "difference", "low", "high", "corrected_p", "better", "worse", "same", "verdict",
                    )
                },
            )
            for one in values["comparisons"]
        ],
        log=values["log"],
        log_metric=background.get("metric", ""),
        recipe=recipe,
        settings=_flat(recipe),
        remarks=background.get("remarks"),
        hardware=_string(facts.get("hardware")),
        seconds=facts.get("seconds", {}),
    )  # fmt: skip


def _system(row: Mapping[str, Any]) -> System:
    return System(
        row["name"],
        row["fields"],
        {name: float(row[name]) for name in row["intervals"]},
        {name: (float(low), float(high)) for name, (low, high) in row["intervals"].items()},
        row["by_dim"],
    )


def _headline(comparisons: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The comparison the report leads with, see `sightline.evaluation.rows.headline`."""
    between = [one for one in comparisons if one["before"]["name"] != BASELINE] or list(comparisons)
    return max(between, key=lambda one: float(one["after_mean"]), default=None)


def _chosen(name: str, place: Path) -> tuple[SavedResults, Row]:
    """A run's results and its best system.

    Raises:
        DataError: it has none that can be read.
    """
    path = place / RESULTS
    try:
        saved = _saved(path)
    except DataError as error:
        raise DataError(f"run '{name}' has no results that can be compared") from error
    models = [row for row in saved.rows if row.name != BASELINE] or saved.rows
    return saved, max(models, key=lambda row: row.result.scores[row.result.primary])


def _compared(name: str, saved: SavedResults, row: Row) -> Compared:
    interval, facts = row.interval(), saved.facts
    return Compared(
        name,
        row.name,
        row.fields,
        row.result.primary,
        interval.mean,
        interval.low,
        interval.high,
        _short(facts.get("model")),
        _short(facts.get("dataset")),
        _string(facts.get("fingerprint")),
        _string(facts.get("created")),
    )


def _incomparable(runs: Sequence[Compared], results: Sequence[SavedResults]) -> str | None:
    """Why figures of these runs say nothing about each other; None where they do."""
    unknown = [run.name for run in runs if run.fingerprint is None]
    if unknown:
        return f"{unknown[0]} does not say which questions and pages it was measured with."
    within = [run.name for run, one in zip(runs, results) if one.facts.get("searched", "all") != "all"]
    if within:
        return f"{within[0]} was searched within each question's own document."
    first = runs[0]
    for run in runs[1:]:
        if run.fingerprint != first.fingerprint:
            return (
                f"{run.name} was measured with other questions or pages than {first.name}. To compare the models, "
                "measure both on the same: sightline compare DATASET MODEL MODEL."
            )
        if run.metric != first.metric:
            return f"{run.name} was judged by {run.metric}, {first.name} by {first.metric}."
    return None


def _is_run(place: Path) -> bool:
    return (place / RESULTS).is_file() or (place / RESOLVED).is_file()


def _values(path: Path) -> dict[str, Any]:
    return _read_values(path, *_stamp(path))


def _saved(path: Path) -> SavedResults:
    return _read_saved(path, *_stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is replaced.

    Raises:
        DataError: there is no such file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: there is no such file of results") from error
    return found.st_mtime_ns, found.st_size


# Results of a large test set have some megabytes, and a page of runs asks for all of them.
@lru_cache(maxsize=64)
def _read_values(path: Path, _changed: int, _size: int) -> dict[str, Any]:
    return results_values(path)


@lru_cache(maxsize=16)
def _read_saved(path: Path, _changed: int, _size: int) -> SavedResults:
    return read_results(path)


def _saved_log(place: Path) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """The log of the newest checkpoint, and the state it stands in; empty where none can be read."""
    for checkpoint in reversed(Checkpoints(place / CHECKPOINTS).all()):
        try:
            state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
            log = [
                {name: value for name, value in entry.items() if isinstance(value, (int, float))}
                for entry in state["log_history"]
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # being written or deleted by the run
        return log, state
    return [], {}


def _flat(recipe: str) -> dict[str, Any]:
    """Dotted key -> value of TOML; empty where it cannot be read."""
    try:
        values = tomllib.loads(recipe)
    except tomllib.TOMLDecodeError:
        return {}
    found: dict[str, Any] = {}

    def walk(prefix: str, table: Mapping[str, Any]) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            else:
                found[prefix + name] = value

    walk("", values)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _short(path: Any) -> str | None:
    """The last two parts: enough to know models and data by, and nothing about the machine."""
    if isinstance(path, Mapping):  # a composed model: those of its parts
        return ", ".join(dict.fromkeys(_short(part) or "" for part in path.values())) or None
    name = _string(path)
    return None if name is None else "/".join(Path(name).parts[-2:]).lstrip("/")
