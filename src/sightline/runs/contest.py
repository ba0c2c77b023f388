"""Systems of all kinds on the same questions, in one table: what `sightline compare` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError, DataError
from sightline.evaluation.rows import Row, against_baseline
from sightline.evaluation.storage import storages
from sightline.runs.outcome import Outcome
from sightline.runs.systems import Finished, parse_systems
from sightline.runs.tandem import DEPTHS, KEPT

if TYPE_CHECKING:
    from sightline.evaluation.collection import Exam


def compare_systems(
    systems: Sequence[str],
    *,
    on: str | Path | None = None,
    split: str | None = None,
    qrels: str | Path | None = None,
    baseline: str | None = None,
    dims: Sequence[int] | None = None,
    precisions: Sequence[str] = ("float32",),
    reranker: str | None = None,
    rerank_depths: Sequence[int] = DEPTHS,
    runs: str | Path | None = None,
    cache: str | Path | None = None,
    device: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Measures, or reads, each system on the same questions.

    Args:
        systems: see `sightline.runs.systems`.
        on: folder with questions and pages: made by `sightline ingest`, or in BEIR's or ViDoRe's layout. By default
            that of the first finished run; where all runs are finished, none is needed.
        split: whose questions are asked, ``"all"`` for every question; by default that of the first finished run, else
            ``"test"`` of a dataset, or the only split of another folder.
        qrels: judgments in TREC's format, in place of the folder's own.
        baseline: name of the system that the others are compared with; by default the first in the table.
        dims: embedding dimensions to measure besides the full one.
        precisions: at which to keep the vectors.
        reranker: a model that puts into a new order what each encoder finds.
        rerank_depths: how many pages per question it reads.
        runs: folder where what every system retrieved is written in TREC's format, a file each.
        cache: folder where the vectors of pages and questions are kept, by content and model; nothing is embedded
            twice, and a killed run goes on. By default ``embeddings`` in a dataset, where mining keeps them too, and
            ``<folder>.embeddings`` beside another folder.
        device: where the models run.
        tell: called with lines of progress.

    Raises:
        ConfigError: no system, two of one name, or an option that does not fit.
        DataError: questions that differ, files that cannot be read, or a baseline that is not there.
        CheckpointError: a model cannot be loaded.
    """
    if not systems:
        raise ConfigError("name at least one system to compare")
    storages((1,), precisions)
    parsed = parse_systems(systems)
    finished = [system for system in parsed if isinstance(system, Finished)]
    if len(finished) == len(parsed) and on is None:
        _refuse_for_finished(qrels=qrels, reranker=reranker, runs=runs)
        return _outcome_of_finished(finished, baseline)
    exam = _exam(finished, on, split, qrels)
    for system in parsed:
        system.check(exam)
    from sightline.models.reranker import Reranker
    from sightline.runs.measure import Wanted

    wanted = Wanted(
        dims=dims,
        precisions=precisions,
        reranker=None if reranker is None else Reranker.from_pretrained(reranker, device=device),
        depths=rerank_depths,
        keep=KEPT if runs is not None else Wanted.keep,
        strict=False,
        cache=_cache(exam, cache),
        tell=tell,
    )
    rows: list[Row] = []
    for system in parsed:
        if tell is not None:
            tell(f"{'reading' if isinstance(system, Finished) else 'measuring'} {system.name} ...")
        rows += system.rows(exam, wanted, device)
    rows = _distinct(rows)
    if runs is not None:
        _write_runs(rows, Path(runs))
    facts = {**exam.facts, "systems": list(systems), "searched": "all"}
    if qrels is not None:
        facts["judgments"] = str(qrels)
    return _outcome(Path(exam.name).name, rows, facts, baseline, exam.thumbnail)


def _exam(
    finished: Sequence[Finished], on: str | Path | None, split: str | None, qrels: str | Path | None
) -> Exam:
    from sightline.documents.collection import ALL, is_dataset, open_exam

    known = finished[0].saved.facts if finished else {}
    if on is None:
        on, split = known.get("dataset"), split or known.get("split")
        if on is None or not Path(on).is_dir():
            raise ConfigError("say with --on which folder has the questions and pages to compare on")
    elif split is None:
        split = "test" if is_dataset(on) else None
    exam = open_exam(on, split=None if split == ALL else split)
    return exam if qrels is None else _judged_by(exam, Path(qrels))


def _cache(exam: Exam, cache: str | Path | None) -> Path:
    from sightline.documents.collection import is_dataset
    from sightline.documents.mining import EMBEDDINGS

    if cache is not None:
        return Path(cache)
    folder = Path(exam.name)
    return folder / EMBEDDINGS if is_dataset(folder) else folder.with_name(f"{folder.name}.{EMBEDDINGS}")


def _judged_by(exam: Exam, path: Path) -> Exam:
    """The same questions with other judgments; those that have none are left out."""
    from sightline.evaluation.collection import Collection
    from sightline.evaluation.trec import read_qrels

    judged = {qid: gains for qid, gains in read_qrels(path).items() if qid in exam.queries}
    if not judged:
        raise DataError(f"{path}: it judges none of the questions of {exam.name}, split {exam.split}")
    return Collection(
        exam.name, exam.queries, exam.corpus, {exam.split: judged}, exam.facets, exam.contents
    ).exam()


def _refuse_for_finished(**options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(
            f"{given[0]} needs pages to search, and all systems are finished runs; add --on FOLDER"
        )


def _outcome_of_finished(finished: Sequence[Finished], baseline: str | None) -> Outcome:
    first = finished[0]
    for other in finished[1:]:
        if other.fingerprint != first.fingerprint:
            raise DataError(
                f"{first.saved.path} and {other.saved.path} were measured with different questions or pages, so they "
                "cannot be compared; name the models and --on FOLDER to measure them again"
            )
    first.fingerprint  # noqa: B018  alone, it still has to be known
    rows = _distinct([row for one in finished for row in one.saved_rows()])
    names = ("dataset", "split", "questions", "pages", "documents", "fingerprint")
    facts = {name: first.saved.facts[name] for name in names if name in first.saved.facts}
    title = Path(str(facts.get("dataset", ""))).name
    return _outcome(
        title, rows, {**facts, "results": [str(one.saved.path) for one in finished]}, baseline, None
    )


def _outcome(
    title: str, rows: list[Row], facts: dict[str, Any], baseline: str | None, thumbnail: Any
) -> Outcome:
    chosen = baseline or (rows[0].name if len({row.name for row in rows}) > 1 else None)
    if chosen is not None:
        against_baseline(rows, chosen)  # a name that is wrong is told now, not when the table is made
    return Outcome(title, rows, facts, thumbnail, chosen)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """One row of each system: the BM25 or untuned model of several runs once where they agree, else numbered."""
    kept: list[Row] = []
    for row in rows:
        same = [other for other in kept if other.name == row.name and other.fields == row.fields]
        if any(other.result.scores.per_query == row.result.scores.per_query for other in same):
            continue
        number = 2
        name = row.name
        while any(other.name == name and other.fields == row.fields for other in kept):
            name, number = f"{row.name} ({number})", number + 1
        kept.append(replace(row, name=name))
    return kept


def _write_runs(rows: Sequence[Row], folder: Path) -> None:
    """What each system retrieved, for other software."""
    import re

    from sightline.evaluation.trec import write_run

    for row in rows:
        name = re.sub(r"[^\w.+-]+", "-", row.label).strip("-")
        write_run(
            {qid: dict(found) for qid, found in row.result.top.items()}, folder / f"{name}.trec", tag=name
        )
