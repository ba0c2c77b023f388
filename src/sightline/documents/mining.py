"""Hard negatives for the questions of a dataset: what ``sightline mine DATASET --model MODEL`` runs."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.documents import store
from sightline.documents.among_ranks import exchange, from_main, is_main, together
from sightline.documents.dataset import Dataset, Fields
from sightline.documents.mining_journal import MiningJournal
from sightline.documents.mining_report import MiningReport, report_of
from sightline.documents.mining_rules import REASONS, Mined, MiningRules
from sightline.documents.mining_search import Asked, ByVectors, ByWords, Miner, Rescoring
from sightline.documents.negatives import (
    CARRIED,
    NEGATIVES,
    VERSION,
    MinedRow,
    has_negatives,
    read_negatives,
    write_negatives,
)
from sightline.documents.records import Page, Question
from sightline.errors import ConfigError, DataError
from sightline.evaluation.views import check_views, default_views, view_of

if TYPE_CHECKING:
    from sightline.models.embedding_cache import CachedEncoder
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker
    from sightline.training.distributed import Ranks

logger = logging.getLogger(__name__)

JOURNAL = "mine.journal"
EMBEDDINGS = "embeddings"
# Pages with equal text layers of at least so many characters count as the same, however their images differ.
SAME_TEXT = 200

# Stage in words, what is done, what there is.
Progress = Callable[[str, int, int], None]


def mine_negatives(
    dataset: Dataset | str | Path,
    encoder: Encoder | None = None,
    *,
    bm25: bool = False,
    reranker: Reranker | None = None,
    rules: MiningRules | None = None,
    fields: Fields | None = None,
    split: str = "train",
    cache: str | Path | None = None,
    bf16: bool = False,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> MiningReport:
    """Finds pages that a model takes for the answers of questions, and writes them beside the dataset.

    Only pages of the documents of ``split`` are looked at, so that nothing of held-out documents gets into training.
    Never a negative: a page that answers the question (or an equal question), one that shows the same as such a page
    (same image, same long text, or a near-duplicate), and what `MiningRules` leaves out.

    Pages and questions are embedded once per model and kept in ``cache``. A killed run goes on where it was, and ends
    with the file that it would have written uninterrupted, byte for byte. Where nothing has changed since the last
    run, nothing is done.

    Args:
        dataset: the folder of a dataset, or the dataset.
        encoder: finds candidates by its vectors, one per item or one per token.
        bm25: finds candidates by words of the text layer; with ``encoder`` both rankings are fused by reciprocal rank,
            and scores are the encoder's.
        reranker: scores candidates and right pages again; margins then go by its scores.
        rules: what is chosen; by default `MiningRules()`.
        fields: what of a page the encoder sees; by default all that it takes.
        split: whose questions and pages.
        cache: folder of embeddings; by default ``embeddings`` in the dataset. It may be deleted at any time.
        bf16: as of `Encoder.encode`.
        progress: told of the stage, what is done and what there is.
        ranks: processes that share the work (`Ranks.of_launch` under torchrun). All of them call this with the same,
            over folders that all of them see; rank 0 alone writes into the dataset. The file is that of one process,
            byte for byte, and a run may go on with another number of them.

    Raises:
        ConfigError: neither an encoder nor bm25; or ranks that would not mine the same.
        PeerError, LostRankError: another rank failed, or is gone.
        DataError: the dataset is damaged or in use, has no questions in the split, the model cannot see its pages, or
            the disk cannot be written.
    """
    started = time.perf_counter()
    root = dataset.root if isinstance(dataset, Dataset) else Path(dataset).absolute()
    if encoder is None and not bm25:
        raise ConfigError("negatives are found by a model or by BM25: give a model, or bm25=True")
    with ExitStack() as held:

        def take() -> None:
            store.read_head(root)  # what is no dataset is told before it is locked
            held.enter_context(store.locked(root))
            held.enter_context(store.writing(root))

        from_main(ranks, take, "taking the dataset")
        with together(ranks, "reading the dataset"):
            opened = Dataset.load(root)
            view: Fields = fields or ("text" if encoder is None else default_views(encoder)[0])
            if encoder is not None:
                check_views(encoder, [view])
            plan = _plan(opened, view, split)
            cached = None if encoder is None else _cached(encoder, cache or root / EMBEDDINGS, bf16, ranks)
            facts = _facts(plan, opened, cached, bm25, reranker, rules or MiningRules())
        if split != "train" and is_main(ranks):
            logger.warning(
                "negatives are mined among the %s documents; do not measure on what you train on", split
            )
        _check_alike(ranks, facts)

        def finish(found: Sequence[Mined] | None) -> MiningReport:
            if found is not None:
                write_negatives(root, _rows(plan, found), {**facts, **_counted(plan, found)})
            (root / JOURNAL).unlink(missing_ok=True)
            seconds = time.perf_counter() - started
            return report_of(root / NEGATIVES, opened, read_negatives(root), seconds)

        found = None
        if from_main(ranks, lambda: _is_current(root, facts), "looking at what was mined before"):
            logger.info("%s is up to date", root / NEGATIVES)
        else:
            tell = progress or _silent
            miner = _miner(plan, opened, rules or MiningRules(), cached, bm25, reranker, tell, ranks)
            found = _mine(root / JOURNAL, facts, miner, tell)
        return from_main(ranks, lambda: finish(found), "writing the negatives")


@dataclass(frozen=True)
class _Plan:
    """What is mined: distinct questions, the pages they are compared with, and who answers what.

    Attributes:
        fields, split: of `mine_negatives`.
        pages: those that show something.
        values: what a model is shown of each.
        queries: the distinct texts of the questions.
        asked: their ids and right pages.
        questions: every question with a right page among ``pages``, and the number of its text.
        without_page: questions without one.
    """

    fields: Fields
    split: str
    pages: Sequence[Page]
    values: Sequence[Any]
    queries: Sequence[str]
    asked: Asked
    questions: Sequence[tuple[Question, int]]
    without_page: int


def _values(dataset: Dataset, fields: Fields, split: str) -> dict[str, Any]:
    """Pages by their ids as a model is shown them; text is said to be text: one that reads "logo.png" is no file."""
    corpus = dataset.corpus(fields, split)
    return {name: {"text": text} for name, text in corpus.items()} if fields == "text" else corpus


def _plan(dataset: Dataset, fields: Fields, split: str) -> _Plan:
    everything = dataset.questions(split)
    if not everything:
        raise DataError(
            f"{dataset.root}: split '{split}' has no questions to find negatives for; give a question file with "
            "`sightline ingest --questions FILE`"
        )
    values = _values(dataset, fields, split)
    pages = [dataset.page(name) for name in values]
    pages = [page for page in pages if fields != "text" or page.text.strip()]
    numbers = {page.page_id: number for number, page in enumerate(pages)}
    right: dict[str, dict[int, None]] = {}  # by the text of the question, in order
    names: dict[str, str] = {}
    kept = []
    for question in everything:
        own = [numbers[name] for name in question.page_ids if name in numbers]
        if own:
            names.setdefault(question.query, question.id)
            right.setdefault(question.query, {}).update(dict.fromkeys(own))
            kept.append(question)
    if not kept:
        raise DataError(
            f"{dataset.root}: no page that answers a question has any {fields}; choose other fields"
        )
    order = {query: number for number, query in enumerate(names)}
    asked = Asked(list(names.values()), [list(right[query]) for query in names], same_content(pages))
    return _Plan(
        fields,
        split,
        pages,
        [values[page.page_id] for page in pages],
        list(names),
        asked,
        [(question, order[question.query]) for question in kept],
        len(everything) - len(kept),
    )


def same_content(pages: Sequence[Page]) -> np.ndarray:
    """(N,) equal numbers for pages that show the same: the smallest number of a page among them.

    Equal are pages of one image, of one long text layer, and near-duplicates as ingestion marks them.
    """
    leader = list(range(len(pages)))

    def first(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    seen: dict[tuple[str, str], int] = {}
    for number, page in enumerate(pages):
        marks = [("content", page.content_hash), ("page", page.page_id), ("page", page.duplicate_of)]
        if len(page.text.strip()) >= SAME_TEXT:
            marks.append(("text", page.text))
        for mark in marks:
            if mark[1]:
                one, other = first(seen.setdefault(mark, number)), first(number)
                leader[max(one, other)] = min(one, other)
    return np.array([first(number) for number in range(len(pages))], np.int64)


def _cached(encoder: Encoder, folder: str | Path, bf16: bool, ranks: Ranks | None) -> CachedEncoder:
    from sightline.models.embedding_cache import CachedEncoder

    return CachedEncoder(encoder, folder, bf16=bf16, peers=ranks)


def _facts(
    plan: _Plan,
    dataset: Dataset,
    cached: CachedEncoder | None,
    bm25: bool,
    reranker: Reranker | None,
    rules: MiningRules,
) -> dict[str, Any]:
    """Everything that decides the result, as JSON."""
    return {
        "version": VERSION,
        "content": dataset.content(plan.split),
        "split": plan.split,
        "fields": plan.fields,
        "model": None
        if cached is None
        else {
            "name": cached.encoder.name_or_path,
            "queries": cached.entry("query"),
            "pages": cached.entry("document"),
            "similarity": cached.encoder.similarity_fn_name,
        },
        "bm25": bm25,
        "reranker": None if reranker is None else _reranker_facts(reranker),
        "rules": rules.to_dict(),
    }


def _check_alike(ranks: Ranks | None, facts: Mapping[str, Any]) -> None:
    """Whether all ranks are about to mine the same.

    Raises:
        ConfigError: on every rank, if not.
    """
    told = exchange(ranks, dict(facts), "comparing what is mined")
    differ = [name for name in told[0] if any(one.get(name) != told[0][name] for one in told)]
    if differ:
        raise ConfigError(
            f"the processes would not mine the same: they differ in {', '.join(differ)}; give all of them the same "
            "dataset, models and options (a model whose head is made anew, at random, has to be saved first)"
        )


def _reranker_facts(reranker: Reranker) -> dict[str, Any]:
    from torch import nn

    from sightline.inputs.cache import fingerprint
    from sightline.models.fingerprint import exact_fingerprint

    activation = reranker.activation
    return {
        "name": reranker.name_or_path,
        "weights": exact_fingerprint(reranker),
        "processor": fingerprint({"": reranker.backbone.processor}),
        "prompt": reranker.prompt_for(),
        "activation": str(activation) if isinstance(activation, nn.Module) else activation.__qualname__,
    }


def _is_current(root: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the file that is there was made of the same."""
    if not has_negatives(root):
        return False
    try:
        there = read_negatives(root).facts
    except DataError:
        return False
    # Those that `add_questions` has carried over know nothing of the questions it has added.
    return CARRIED not in there and all(there.get(name) == value for name, value in facts.items())


def _miner(
    plan: _Plan,
    dataset: Dataset,
    rules: MiningRules,
    cached: CachedEncoder | None,
    bm25: bool,
    reranker: Reranker | None,
    tell: Progress,
    ranks: Ranks | None,
) -> Miner:
    questions = [{"text": query} for query in plan.queries]
    vectors = words = rescoring = None
    if reranker is not None:
        shown = _values(dataset, view_of(reranker), plan.split)
        rescoring = Rescoring(reranker, questions, [shown[page.page_id] for page in plan.pages])
    if bm25:
        words = ByWords(plan.queries, [page.text for page in plan.pages])
    if cached is not None:
        pages = cached.encode_document(plan.values, lambda done, total: tell("Embedding pages", done, total))
        queries = cached.encode_query(questions, lambda done, total: tell("Embedding questions", done, total))
        encoder = cached.encoder
        vectors = ByVectors(queries, pages, encoder.similarity_fn_name, encoder.device)
    return Miner(plan.asked, rules, vectors, words, rescoring, ranks)


def _mine(path: Path, facts: Mapping[str, Any], miner: Miner, tell: Progress) -> list[Mined]:
    """What was mined for each distinct question, with the help of what a killed run has left."""
    total, ranks = len(miner.asked.names), miner.ranks
    with ExitStack() as stack:
        journal = None
        with together(ranks, "opening the journal"):
            if is_main(ranks):  # who alone knows it; the others find what is still to be found
                journal = stack.enter_context(closing(MiningJournal(path, facts)))
        known = [] if journal is None else journal.chunks
        chunks = exchange(ranks, len(known), "going on")[0]
        found = [one for chunk in known for one in chunk]
        if found:
            logger.info("going on after %d of %d questions", len(found), total)
        tell("Mining", len(found), total)
        for chunk in miner.run(chunks):
            with together(ranks, "writing the journal"):
                if journal is not None:
                    journal.add(chunk)
            found += chunk
            tell("Mining", len(found), total)
    return found


def _rows(plan: _Plan, found: Sequence[Mined]) -> list[MinedRow]:
    numbers = {page.page_id: number for number, page in enumerate(plan.pages)}
    rows = []
    for question, place in plan.questions:
        mined = found[place]
        scores = dict(zip(mined.positives, mined.positive_scores, strict=True))
        for name in question.page_ids:
            if name in numbers:
                rows.append(
                    MinedRow(
                        question.id,
                        name,
                        scores[numbers[name]],
                        tuple(plan.pages[number].page_id for number in mined.negatives),
                        mined.scores,
                        mined.ranks,
                    )
                )
    return rows


def _counted(plan: _Plan, found: Sequence[Mined]) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    for one in found:
        dropped.update(one.dropped)
    return {
        "searched": len(plan.asked.searched),
        "copies": len(plan.pages) - len(plan.asked.searched),
        "without_page": plan.without_page,
        "dropped": {reason: dropped[reason] for reason in REASONS if dropped[reason]},
    }


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
