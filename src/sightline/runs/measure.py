"""One encoder on one exam: quality at every dimension, precision and rerank depth, with what each takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError
from sightline.evaluation.judging import Judge
from sightline.evaluation.matrix import Matrix, measure_matrix, reranked_cells, wanted_pairs
from sightline.evaluation.results import SHOWN
from sightline.evaluation.rows import Row
from sightline.evaluation.storage import RESCORED, Storage, hardware, storages
from sightline.evaluation.tandem import score_pairs
from sightline.evaluation.views import check_views, view_of
from sightline.runs.evaluate import evaluator_for, usable_dims
from sightline.runs.tandem import DEPTHS, KEPT, reranked_rows, shown

if TYPE_CHECKING:
    from sightline.evaluation.collection import Exam
    from sightline.evaluation.retrieval import Encoded, RetrievalEvaluator
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker


@dataclass(frozen=True)
class Wanted:
    """What is measured of each encoder.

    Attributes:
        dims: Matryoshka dimensions besides the full one.
        precisions: of `sightline.evaluation.storage.PRECISIONS`.
        reranker: puts into a new order what each way of searching finds.
        depths: how many pages it looks at.
        rescored: candidates of precisions with "+".
        keep: pages kept of each question.
        strict: refuse dimensions that a model does not have; otherwise they are left out, which is told.
        cache: folder where vectors are kept, so that no page is embedded twice by the same model; None for none.
        tell: called with lines of progress.
    """

    dims: Sequence[int] | None = None
    precisions: Sequence[str] = ("float32",)
    reranker: Reranker | None = None
    depths: Sequence[int] = DEPTHS
    rescored: int = RESCORED
    keep: int = SHOWN
    strict: bool = True
    cache: Path | None = None
    tell: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        storages((1,), self.precisions)  # an unknown precision is told before anything is computed
        if not self.depths or min(self.depths) < 1:
            raise ConfigError(f"rerank depths {list(self.depths)}: give at least one, each at least 1")


def measure_encoder(encoder: Encoder, exam: Exam, view: str, wanted: Wanted, *, name: str) -> list[Row]:
    """The encoder's row, and a row per rerank depth; every cell comes from one encoding and one scoring of pairs.

    Args:
        encoder: the model.
        exam: what it is measured with.
        view: what of a page it sees.
        wanted: what to measure.
        name: of the row.

    Raises:
        DataError: the model does not take what ``view`` asks for.
        ConfigError: a dimension the model does not have, where that is refused.
    """
    check_views(encoder, [view])
    tell = wanted.tell or _silent
    dims = _dims(encoder, wanted, tell)
    deep = wanted.keep if wanted.reranker is None else max(KEPT, wanted.keep, *wanted.depths)
    evaluator = evaluator_for(exam, view, dims=dims, keep=deep)
    encoded, ms_per_page = _encoded(encoder, evaluator, wanted.cache, tell)
    result = evaluator.score(encoded)
    full = encoded.queries.dim
    known = {Storage(dim): found for dim, found in result.by_dim.items()} | {Storage(full): result.scores}
    result.facts["encoded on"] = hardware(str(encoder.device))
    judge = Judge(list(evaluator.corpus), evaluator.relevant, evaluator.metrics)
    matrix = measure_matrix(
        list(evaluator.queries),
        encoded.queries,
        _all(encoded),
        judge,
        _storages(full, dims, wanted.precisions, encoder, tell),
        similarity=encoded.similarity,
        depth=evaluator.depth,
        known=known,
        keep_found=wanted.reranker is not None,
        ms_per_page=ms_per_page,
        rescored=wanted.rescored,
    )
    whole = next(cell for cell in matrix.cells if cell.storage == Storage(full))
    cells = matrix.cells if len(matrix.cells) > 1 else []
    row = Row(name, view, replace(result, cost=whole.cost, cells=tuple(cells)))
    if wanted.reranker is None:
        return [row]
    return _reranked(row, wanted.reranker, exam, evaluator, matrix, judge, wanted)


def _reranked(
    row: Row,
    reranker: Reranker,
    exam: Exam,
    evaluator: RetrievalEvaluator,
    matrix: Matrix,
    judge: Judge,
    wanted: Wanted,
) -> list[Row]:
    tell = wanted.tell or _silent
    qids, ids, depths = list(evaluator.queries), list(evaluator.corpus), list(dict.fromkeys(wanted.depths))
    pairs = wanted_pairs(matrix, qids, ids, max(depths))
    for qid, found in row.result.top.items():
        pairs[qid] = list(dict.fromkeys([*(page for page, _ in found[: max(depths)]), *pairs[qid]]))
    tell(f"reranking what {row.name} found: {sum(map(len, pairs.values())):,} pairs ...")
    scored = score_pairs(reranker, exam.query_values(), exam.values(view_of(reranker)), pairs)
    others = reranked_rows(row, reranker, exam, scored, depths)
    if row.result.cells:
        cells = (*row.result.cells, *reranked_cells(matrix, qids, ids, judge, scored, depths))
        row = replace(row, result=replace(row.result, cells=cells))
    return [one if wanted.keep > SHOWN else shown(one) for one in (row, *others)]


def _encoded(
    encoder: Encoder, evaluator: RetrievalEvaluator, cache: Path | None, tell: Callable[[str], Any]
) -> tuple[Encoded, float | None]:
    """The vectors, and milliseconds per page."""
    if cache is None:
        encoded = evaluator.encode(encoder)
        return encoded, 1000 * encoded.seconds["encode corpus"] / len(evaluator.corpus)
    from sightline.runs.remembered import RememberedEncoder

    source = RememberedEncoder(encoder, cache, tell)
    return evaluator.encode(source), source.ms_per_document


def _dims(encoder: Encoder, wanted: Wanted, tell: Callable[[str], Any]) -> list[int] | None:
    dims = usable_dims(wanted.dims)
    if dims is None:
        return None
    if encoder.truncate_dim and max(dims) > encoder.truncate_dim:
        encoder.truncate_dim = None  # asked about more than the model cuts to by default
    wide = [dim for dim in dims if dim > encoder.embedding_dim]
    if wide and wanted.strict:
        raise ConfigError(f"dims {dims} must lie in the model's {encoder.embedding_dim} dimensions")
    if wide:
        tell(
            f"{encoder.name_or_path} has {encoder.embedding_dim} dimensions; left out: {', '.join(map(str, wide))}"
        )
    return [dim for dim in dims if dim <= encoder.embedding_dim] or None


def _storages(
    full: int,
    dims: Sequence[int] | None,
    precisions: Sequence[str],
    encoder: Encoder,
    tell: Callable[[str], Any],
) -> list[Storage]:
    """What is measured, whole float32 vectors always among it."""
    usable = [name for name in precisions if not (encoder.multi_vector and "+" in name)]
    if len(usable) < len(precisions):
        left_out = ", ".join(name for name in precisions if name not in usable)
        tell(f"{encoder.name_or_path} gives a vector per token, which are not rescored; left out: {left_out}")
    return list(dict.fromkeys([Storage(full), *storages({full, *(dims or ())}, usable)]))


def _all(encoded: Encoded) -> Any:
    assert encoded.documents is not None  # one process has them all
    return encoded.documents


def _silent(line: str) -> None:
    """Where nobody listens."""
