"""What feedback teaches, and what correcting its position bias is worth: simulated people on the demo's documents.

    python benchmarks/feedback.py                        # 100 people, three draws of them, every way to read them
    python benchmarks/feedback.py --labels-only --sessions 1000 --seeds 10
    python benchmarks/feedback.py --dataset FOLDER       # of an earlier `make demo`, in place of a new one

People search the 48 self-made documents with questions whose right pages are known: half of them by MiniLM's vectors
over the text layer, half by BM25. They look at rank k with probability 1/k, click a right page in 9 of 10 cases and a
wrong one in 1 of 10, and mark something in 15 of 100 searches. Their log is exported in several ways, and MiniLM is
fine-tuned on each. Measured: the questions about held-out documents (a third of them) that nobody has asked, among
all pages of these documents. No page of a held-out document is trained on; the split is the demo's own.

Prints how many of the exported pages are right (precision) and nDCG@10 before and after, with 95 % intervals of a
bootstrap over documents, paired with the way named first.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.demo.collection import generate
from sightline.demo.model import minilm_folder
from sightline.demo.visitors import Habits, Search, visit
from sightline.documents import store as tables
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings, Question
from sightline.evaluation.bm25 import BM25
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.evaluation.significance import bootstrap_mean, paired_bootstrap
from sightline.feedback.export import export_feedback
from sightline.feedback.records import LoggedSearch
from sightline.feedback.store import FeedbackStore
from sightline.feedback.weighing import WeighingRules
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer

SHOWN = 10
HABITS = Habits()
# Way to read the log -> rules. The first is what an export does without options.
WAYS: dict[str, WeighingRules] = {
    "corrected": WeighingRules(),
    "clicks per impression": WeighingRules(eta=0.0),
    "every click": WeighingRules(eta=0.0, attraction=1e-9),
    "without skipped": WeighingRules(weak=False),
    "marks only": WeighingRules(clicks=False),
}
SHUFFLED, TRUTH = "shuffled", "the truth"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--searches", type=int, default=4, help="of each person")
    parser.add_argument(
        "--questions", type=int, help="that people ask; by default all but those measured with"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--tokens", type=int, default=96, help="of a page that the model reads")
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--labels-only", action="store_true", help="train nothing")
    parser.add_argument("--output", type=Path, help="write every run to this file, a JSON line each")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        run(asked, Path(work))


def run(asked: argparse.Namespace, work: Path) -> None:
    source = Dataset.load(asked.dataset or made(work))
    everything = [question for question in source.all_questions if question.origin == "person"]
    draw = random.Random(0)
    held = [question for question in everything if question.split == "test"]
    # Of the held-out documents people ask a fifth of the questions; the others are measured with.
    theirs = {question.id for question in draw.sample(held, len(held) // 5)}
    words = {question.query for question in everything if question.split != "test" or question.id in theirs}
    measured = [question for question in held if question.query not in words]
    truth: dict[str, set[str]] = {}
    for question in everything:
        if question.query in words:
            truth.setdefault(question.query, set()).update(question.page_ids)
    root = work / "pages"
    if asked.questions is not None:
        truth = {query: truth[query] for query in draw.sample(sorted(truth), asked.questions)}
    copied(source, root, measured)
    before = scored(model(asked), root, measured)
    searching = searches(model(asked), source, list(truth))
    show(f"{len(truth):,} questions to ask, {len(measured):,} to measure with, {len(source.pages):,} pages")
    documents = [question.document for question in measured]
    point, low, high = interval(before, documents)
    show(f"before: nDCG@10 {point:.3f} ({low:.3f} to {high:.3f})")
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(asked.seeds):
        log = visited(work / f"{seed}.db", searching, truth, asked, seed)
        for way, how in ways(log, truth, source).items():
            record = how(root)
            if not asked.labels_only:
                record["scores"] = trained(root, measured, asked, work / "run", seed)
            found.setdefault(way, []).append(record)
            text = "".join(
                f", {name} {record[name]:.3f}" for name in ("eta", "precision", "recall") if name in record
            )
            after = f", nDCG@10 {np.mean(record['scores']):.3f}" if "scores" in record else ""
            show(f"people {seed}, {way}: {record['questions']} questions{text}{after}")
            if asked.output:
                with asked.output.open("a") as file:
                    file.write(json.dumps({"seed": seed, "way": way, **record}) + "\n")
    summary(found, before, documents)


def made(work: Path) -> Path:
    """The demo's documents as a dataset."""
    generate(work / "collection")
    ingest(
        work / "collection" / "documents", work / "made", questions=work / "collection" / "questions.jsonl",
        settings=IngestSettings(pixels=20_000, ocr="none"), progress=False,
    )  # fmt: skip
    return work / "made"


def copied(source: Dataset, root: Path, questions: Sequence[Question]) -> None:
    """The dataset's pages with no other questions than these, and without its images."""
    root.mkdir()
    head = {name: value for name, value in source.head.items() if name not in ("format", "version")}
    tables.write_dataset(root, tables.read_documents_table(source.root), questions, head)


def model(asked: argparse.Namespace) -> Encoder:
    return Encoder.from_pretrained(
        minilm_folder(), device="cpu", processor_kwargs={"model_max_length": asked.tokens},
        config_kwargs={"attention_probs_dropout_prob": 0.0},
    )  # fmt: skip


def searches(encoder: Encoder, data: Dataset, queries: Sequence[str]) -> dict[str, Search]:
    """Two ways to search, by the name of their version."""
    corpus = data.corpus("text")
    names = list(corpus)
    scores_QN = (
        encoder.encode_query(list(queries)).numpy() @ encoder.encode_document(list(corpus.values())).numpy().T
    )
    vectors = {
        query: {names[place]: float(row_N[place]) for place in np.argsort(-row_N, kind="stable")[:SHOWN]}
        for query, row_N in zip(queries, scores_QN, strict=True)
    }
    words = BM25(corpus).run(dict(zip(queries, queries, strict=True)), k=SHOWN)

    def by(run: Mapping[str, Mapping[str, float]]) -> Search:
        def search(query: str) -> list[tuple[str, int, float]]:
            best = sorted(run[query].items(), key=lambda item: -item[1])
            return [(name, rank, score) for rank, (name, score) in enumerate(best, start=1)]

        return search

    return {"vectors": by(vectors), "words": by(words)}


def visited(
    path: Path,
    searching: Mapping[str, Search],
    truth: Mapping[str, set[str]],
    asked: argparse.Namespace,
    seed: int,
) -> list[LoggedSearch]:
    with FeedbackStore(path) as store:
        for number, (version, search) in enumerate(searching.items()):
            visit(
                store, search, truth, sessions=asked.sessions // len(searching), searches=asked.searches,
                habits=HABITS, seed=len(searching) * seed + number, version=version,
            )  # fmt: skip
        return list(store.searches())


def ways(
    log: Sequence[LoggedSearch], truth: Mapping[str, set[str]], source: Dataset
) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """What fills the dataset with questions, and says how good they are."""

    def exported(searches: Sequence[LoggedSearch], rules: WeighingRules) -> Callable[[Path], dict[str, Any]]:
        def fill(root: Path) -> dict[str, Any]:
            report = export_feedback(searches, root, rules=rules)
            return {
                "eta": report.bias.eta,
                "bias": report.bias.source,
                **quality(report.questions, log, truth, source),
            }

        return fill

    def true(root: Path) -> dict[str, Any]:
        asked = {search.query for search in log}
        questions = [
            replace(one, origin="feedback", id=f"true-{one.id}")
            for one in source.all_questions
            if one.origin == "person" and one.split == "train" and one.query in asked
        ]
        export_feedback([], root)
        tables.write_questions(root, [*Dataset.load(root).all_questions, *questions])
        return quality(questions, log, truth, source)

    queries = [search.query for search in log]
    random.Random(1).shuffle(queries)
    mixed = [replace(search, query=query) for search, query in zip(log, queries, strict=True)]
    found = {name: exported(log, rules) for name, rules in WAYS.items()}
    return {**found, SHUFFLED: exported(mixed, WAYS["corrected"]), TRUTH: true}


def quality(
    questions: Sequence[Question], log: Sequence[LoggedSearch], truth: Mapping[str, set[str]], source: Dataset
) -> dict[str, Any]:
    """Of the training questions: how many right pages are right, and how many of those shown were found."""
    held = {item.document for item in source.documents if item.split != "train"}
    trained = [question for question in questions if question.split == "train"]
    pairs = {(question.query, name) for question in trained for name in question.page_ids}
    wrong = {(question.query, name) for question in trained for name in question.negatives}
    shown = {
        (search.query, page.page_id)
        for search in log
        for page in search.shown
        if page.page_id in truth[search.query] and page.page_id.partition("#")[0] not in held
    }
    right = sum(name in truth[query] for query, name in pairs)
    return {
        "questions": len(trained),
        "pairs": len(pairs),
        "precision": right / len(pairs) if pairs else 0.0,
        "recall": len(pairs & shown) / len(shown),
        "negatives": len(wrong),
        "negatives_wrong": sum(name not in truth[query] for query, name in wrong) / len(wrong)
        if wrong
        else 0.0,
    }


def trained(
    root: Path, measured: Sequence[Question], asked: argparse.Namespace, folder: Path, seed: int
) -> list[float]:
    torch.manual_seed(seed)
    data, encoder = Dataset.load(root), model(asked)
    mined = any(question.negatives for question in data.questions("train"))
    rows = data.train_rows("text", negatives=asked.negatives if mined else None, origins=["feedback"])
    args = TrainingArguments(
        output_dir=str(folder), num_train_epochs=asked.epochs, per_device_train_batch_size=32, learning_rate=5e-5,
        warmup_ratio=0.1, save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=seed,
    )  # fmt: skip
    Trainer(encoder, InfoNCE(), train_dataset=rows, args=args).train()
    return scored(encoder, root, measured)


def scored(encoder: Encoder, root: Path, measured: Sequence[Question]) -> list[float]:
    """nDCG@10 of each question."""
    queries = {question.id: question.query for question in measured}
    relevant = {question.id: set(question.page_ids) for question in measured}
    evaluator = RetrievalEvaluator(
        queries, Dataset.load(root).corpus("text", "test"), relevant, metrics=["ndcg@10"]
    )
    evaluator(encoder)
    assert evaluator.last is not None
    found = evaluator.last.per_query()
    return [found[name] for name in queries]


def interval(scores: Sequence[float], documents: Sequence[str]) -> tuple[float, float, float]:
    found = bootstrap_mean(scores, groups=documents)
    return found.mean, found.low, found.high


def summary(
    found: Mapping[str, list[dict[str, Any]]], before: Sequence[float], documents: Sequence[str]
) -> None:
    show(
        "\nway | questions | right pages right | found of those shown | negatives, wrong | nDCG@10"
        " | against before | against the first"
    )
    first: list[float] | None = None
    for way, records in found.items():
        means = {
            name: float(np.mean([record[name] for record in records]))
            for name in ("questions", "precision", "recall", "negatives", "negatives_wrong")
        }
        cells = [
            way, f"{means['questions']:.0f}", f"{means['precision']:.2f}", f"{means['recall']:.2f}",
            f"{means['negatives']:.0f}, {means['negatives_wrong']:.2f}",
        ]  # fmt: skip
        if "scores" in records[0]:
            # Each question's mean over the draws of people.
            scores = np.mean([record["scores"] for record in records], axis=0).tolist()
            first = first or scores
            cells.append(f"{np.mean(scores):.3f}")
            for other in (before, first):
                against = paired_bootstrap(other, scores, groups=documents)
                cells.append(f"{against.mean:+.3f} ({against.low:+.3f} to {against.high:+.3f})")
        show(" | ".join(cells))


def show(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
