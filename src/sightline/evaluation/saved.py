"""``results.json``: everything an evaluation found, written for people and read again for reports and comparisons.

    format, version   "sightline-results", 1
    rows              one per system, in the order of the table:
        name, fields                    the system, and what of a page it saw
        <metric>                        mean, e.g. "ndcg@10"; "ndcg@10@256" at a Matryoshka dimension
        primary, intervals              the deciding metric; metric -> [low, high], 95% bootstrap
        queries, corpus, facts          counts; how it was made
        cost                            bytes_per_page, megabytes_per_million_pages, ms_per_page, ms_per_query (null
                                        where not measured), pages, hardware; null where nothing is known
        by_dim                          dimension -> metric -> mean
        cells                           dim, precision, reranked (pages, 0 for none), metrics, interval (of the primary
                                        metric), cost
        breakdown                       facet, value, questions, documents, few (under 10 questions), scores: metric ->
                                        mean and interval
    comparisons       before, after, metric, their means, difference, low, high, p_value, corrected_p (Holm),
                      significant, better, worse, same, verdict, breakdown (the difference by facet)
    baseline          the system that all others are compared with, null for the usual pairs
    background        of a training run: recipe (TOML), metric (the evaluator's, as the log names it), remarks (of the
                      data doctor: severity, title, count, where, message, advice; null where it was not asked)
    facts             of data and models: fingerprint, dataset, split, counts; created, versions
    questions         id, query, relevant: page -> gain, facets: kind, modality, language, origin, document
    details           one per row, numbers in the order of the questions: per_query: metric -> scores, by_dim and cells:
                      scores of the primary metric, first_rank (null: not found), top: the first pages with scores

    log               of a training run: loss, its parts, throughput, memory, evaluations by step (docs/tracking.md)

Questions, details and log stand one to a line.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

from sightline.errors import DataError
from sightline.evaluation.background import Background
from sightline.evaluation.breakdown import breakdown, breakdown_of_difference
from sightline.evaluation.metrics import Result
from sightline.evaluation.results import SHOWN, RetrievalResult
from sightline.evaluation.rows import Comparison, Row, standard_comparisons
from sightline.evaluation.storage import Cell, Cost, Storage
from sightline.files import write_text

FORMAT = "sightline-results"
VERSION = 1
_PACKAGES = ("sightline", "torch", "transformers", "numpy", "datasets", "accelerate", "peft")
_LONG = ("questions", "details", "log")


@dataclass(frozen=True)
class SavedResults:
    """A results.json, read.

    Attributes:
        path: the file.
        rows: as they were written; of other dimensions and cells only the primary metric has scores per query.
        facts: of data and models.
        baseline: the system all others were compared with, None for the usual pairs.
        background: how the model was made; empty where it was only measured.
    """

    path: Path
    rows: list[Row]
    facts: Mapping[str, Any]
    baseline: str | None
    background: Background = field(default_factory=Background)


def results_json(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    facts: Mapping[str, Any],
    *,
    baseline: str | None = None,
    background: Background | None = None,
) -> dict[str, Any]:
    """Everything, as values that `json` writes; see the module."""
    made = (background or Background()).to_json()
    log = made.pop("log")
    return {
        "format": FORMAT,
        "version": VERSION,
        "rows": [row_json(row) for row in rows],
        "comparisons": [
            {
                **one.to_json(),
                "breakdown": [
                    found.to_json()
                    for found in breakdown_of_difference(one.before, one.after, metric=one.metric)
                ],
            }
            for one in comparisons
        ],
        "baseline": baseline,
        "background": made,
        "facts": {**made_with(), **facts},
        "questions": _questions(rows[0].result) if rows else [],
        "details": [_details(row, rows[0]) for row in rows],
        "log": log,
    }


def row_json(row: Row) -> dict[str, Any]:
    """A row without its scores per query."""
    result, interval = row.result, row.interval()
    return {
        "name": row.name,
        "fields": row.fields,
        **result.scores.mean,
        **{f"{result.primary}@{dim}": found[result.primary] for dim, found in result.by_dim.items()},
        f"{result.primary} interval": [interval.low, interval.high],
        "primary": result.primary,
        "intervals": {name: [one.low, one.high] for name, one in row.intervals.items()},
        "queries": len(result.queries),
        "corpus": result.corpus_size,
        "facts": result.facts,
        "cost": None if result.cost is None else result.cost.to_json(),
        "by_dim": {str(dim): found.mean for dim, found in result.by_dim.items()},
        "cells": [
            {
                "dim": cell.storage.dim,
                "precision": cell.storage.precision,
                "reranked": cell.depth,
                "metrics": cell.scores.mean,
                "interval": [one.low, one.high],
                "cost": cell.cost.to_json(),
            }
            for cell, one in zip(result.cells, row.cell_intervals, strict=True)
        ],
        "breakdown": [one.to_json() for one in breakdown(row)],
    }


def write_results(
    rows: Sequence[Row],
    path: str | PathLike[str],
    *,
    comparisons: Sequence[Comparison] | None = None,
    facts: Mapping[str, Any] | None = None,
    baseline: str | None = None,
    background: Background | None = None,
) -> Path:
    """Write results.json atomically.

    Args:
        rows: in the order of the table, all over the same questions.
        path: the JSON file.
        comparisons: by default `standard_comparisons`.
        facts: about data and models; versions and the time are added.
        baseline: the system all others are compared with, if there is one.
        background: how the model was made.
    """
    found = standard_comparisons(rows) if comparisons is None else comparisons
    values = results_json(rows, found, facts or {}, baseline=baseline, background=background)
    entries = [f"  {json.dumps(name)}: {_text(name, value)}" for name, value in values.items()]
    return write_text(path, "{\n" + ",\n".join(entries) + "\n}\n", errors="backslashreplace")


def read_results(path: str | PathLike[str]) -> SavedResults:
    """A results.json with its rows.

    Raises:
        DataError: no such file, not JSON, or not written by `write_results`.
    """
    path = Path(path)
    values = results_values(path)
    try:
        asked = values["questions"]
        rows = [
            _row(row, detail, asked) for row, detail in zip(values["rows"], values["details"], strict=True)
        ]
        known = values.get("background")  # a part of later versions
        background = Background() if known is None else Background.from_json({**known, "log": values["log"]})
        return SavedResults(path, rows, values["facts"], values["baseline"], background)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: damaged ({type(error).__name__}: {error}); measure the model again"
        ) from error


def results_values(path: Path) -> dict[str, Any]:
    """A results.json as it stands, see the module: every figure, nothing computed.

    Raises:
        DataError: no such file, not JSON, or not written by `write_results`.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file of results") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != VERSION:
        raise DataError(
            f"{path}: these are no results with scores per question, which `sightline train`, `eval` and `compare` "
            "write; measure the model again"
        )
    return values


def made_with() -> dict[str, Any]:
    """When and with which versions: packages are asked for their version without importing them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "versions": versions,
    }


def _text(name: str, value: Any) -> str:
    """JSON, indented; of long lists an entry per line."""
    if name not in _LONG or not value:
        return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False).replace("\n", "\n  ")
    lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in value]
    return "[\n    " + ",\n    ".join(lines) + "\n  ]"


def _questions(result: RetrievalResult) -> list[dict[str, Any]]:
    return [
        {
            "id": qid,
            "query": query,
            "relevant": result.relevant[qid],
            "facets": {name: found[qid] for name, found in result.facets.items() if found.get(qid)},
        }
        for qid, query in result.queries.items()
    ]


def _details(row: Row, first: Row) -> dict[str, Any]:
    result, qids = row.result, list(first.result.queries)
    if result.queries.keys() != first.result.queries.keys():
        odd = sorted(result.queries.keys() ^ first.result.queries.keys())[0]
        raise DataError(f"'{row.label}' and '{first.label}' have different queries, e.g. '{odd}'")

    def listed(scores: Result, metric: str) -> list[float]:
        return [scores.per_query[metric][qid] for qid in qids]

    return {
        "per_query": {metric: listed(result.scores, metric) for metric in result.scores.per_query},
        "by_dim": {str(dim): listed(found, result.primary) for dim, found in result.by_dim.items()},
        "cells": [listed(cell.scores, result.primary) for cell in result.cells],
        "first_rank": [result.first_rank[qid] for qid in qids],
        "top": [result.top[qid][:SHOWN] for qid in qids],
    }


def _row(row: Mapping[str, Any], detail: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> Row:
    qids, primary = [one["id"] for one in asked], row["primary"]

    def by_query(scores: Sequence[float]) -> dict[str, float]:
        return dict(zip(qids, scores, strict=True))

    def only_primary(mean: dict[str, float], scores: Sequence[float]) -> Result:
        return Result(mean, {primary: by_query(scores)})

    facets: dict[str, dict[str, str]] = {}
    for one in asked:
        for name, value in one["facets"].items():
            facets.setdefault(name, {})[one["id"]] = value
    per_query = {metric: by_query(scores) for metric, scores in detail["per_query"].items()}
    result = RetrievalResult(
        scores=Result({metric: row[metric] for metric in per_query}, per_query),
        by_dim={int(dim): only_primary(mean, detail["by_dim"][dim]) for dim, mean in row["by_dim"].items()},
        primary=primary,
        top={
            qid: [(docid, score) for docid, score in found]
            for qid, found in zip(qids, detail["top"], strict=True)
        },
        first_rank=dict(zip(qids, detail["first_rank"], strict=True)),
        queries={one["id"]: one["query"] for one in asked},
        relevant={one["id"]: one["relevant"] for one in asked},
        corpus_size=row["corpus"],
        facts=row["facts"],
        cells=tuple(
            Cell(
                Storage(cell["dim"], cell["precision"]),
                only_primary(cell["metrics"], scores),
                Cost.from_json(cell["cost"]),
                cell["reranked"],
            )
            for cell, scores in zip(row["cells"], detail["cells"], strict=True)
        ),
        cost=None if row["cost"] is None else Cost.from_json(row["cost"]),
        facets=facets,
    )
    return Row(row["name"], row["fields"], result)
