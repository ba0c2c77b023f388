"""The whole loop: a hundred people search, click and mark; a model that is trained on it beats the one before.

The documents are of twelve stations with a page for each of eight machines. Documents name machines by their number;
people call them by other words, which the model cannot know. What it can learn from feedback on some stations, it must
show on the others: four stations are held out, all their pages and every question about them. Feedback about them
enters no training (the test looks), and the questions that are measured with are worded in another way than those
that people asked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.demo.visitors import Habits, visit
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.evaluation.significance import randomization_test
from sightline.feedback.export import export_feedback
from sightline.feedback.store import FeedbackStore
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.fixtures import MINILM

CALLED = {
    "the kettle": "unit K 7",
    "the old lady": "unit R 2",
    "the carousel": "unit C 4",
    "the whale": "unit W 9",
    "the choir": "unit B 1",
    "the ladder": "unit T 6",
    "the garden": "unit S 3",
    "the piano": "unit P 8",
}
STATIONS = (
    "Aske",
    "Borle",
    "Cambe",
    "Dunve",
    "Elsby",
    "Forna",
    "Gilde",
    "Hulme",
    "Iskar",
    "Jorva",
    "Kelmo",
    "Lunde",
)
HELD_OUT = STATIONS[8:]
ASKED = ("who looks after {} at {}", "has {} at {} been repaired", "when was {} at {} put in")
MEASURED = "report on {} at {}"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document per station, with the questions that are measured with."""
    from reportlab.pdfgen import canvas

    work = tmp_path_factory.mktemp("stations")
    (work / "in").mkdir()
    for station in STATIONS:
        sheet = canvas.Canvas(str(work / "in" / f"{station}.pdf"), pagesize=(300, 60), invariant=1)
        for unit in CALLED.values():
            sheet.drawString(5, 30, f"Station {station}, {unit}: in service")
            sheet.showPage()
        sheet.save()
    asked = [
        {"id": f"{station}-{number}", "query": MEASURED.format(name, station), "document": f"{station}.pdf",
         "pages": [number]}
        for station in HELD_OUT for number, name in enumerate(CALLED)
    ]  # fmt: skip
    (work / "asked.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    sides = {"train": [f"{name}.pdf" for name in STATIONS[:8]], "test": [f"{name}.pdf" for name in HELD_OUT]}
    (work / "splits.json").write_text(json.dumps(sides))
    ingest(
        work / "in", work / "out", questions=work / "asked.jsonl", splits=work / "splits.json", workers=1,
        settings=IngestSettings(pixels=5_000, ocr="none"),
    )  # fmt: skip
    return work / "out"


def searching(
    encoder: Encoder, data: Dataset, queries: Sequence[str]
) -> Callable[[str], list[tuple[str, int, float]]]:
    """Search by exact similarity, ten pages."""
    names = list(data.corpus("text"))
    pages = encoder.encode_document(list(data.corpus("text").values())).numpy()
    asked = dict(zip(queries, encoder.encode_query(list(queries)).numpy(), strict=True))

    def search(query: str) -> list[tuple[str, int, float]]:
        scores = pages @ asked[query]
        best = np.argsort(-scores, kind="stable")[:10]
        return [(names[place], rank, float(scores[place])) for rank, place in enumerate(best, start=1)]

    return search


def measured(encoder: Encoder, data: Dataset) -> list[float]:
    """nDCG@10 of each held-out question that people did not ask, among the pages of all stations."""
    queries = {one.id: one.query for one in data.questions("test") if one.origin == "person"}
    relevant = {name: pages for name, pages in data.relevant("test").items() if name in queries}
    evaluator = RetrievalEvaluator(queries, data.corpus("text"), relevant, metrics=["ndcg@10"])
    evaluator(encoder)
    assert evaluator.last is not None
    return [evaluator.last.per_query()[name] for name in queries]


def trained(data: Dataset, folder: Path) -> list[float]:
    torch.manual_seed(0)
    encoder = Encoder.from_pretrained(MINILM, device="cpu")
    rows = data.train_rows("text", negatives=1, origins=["feedback"])
    args = TrainingArguments(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=32, learning_rate=2e-4,
        warmup_ratio=0.1, save_strategy="no", disable_tqdm=True, seed=0,
    )  # fmt: skip
    Trainer(encoder, InfoNCE(), train_dataset=rows, args=args).train()
    return measured(encoder, data)


def test_a_model_trained_on_feedback_beats_the_one_before(pages: Path, tmp_path: Path) -> None:
    data = Dataset.load(pages)
    encoder = Encoder.from_pretrained(MINILM, device="cpu")
    questions = {
        wording.format(name, station): {f"{station}.pdf#p{number}"}
        for station in STATIONS
        for number, name in enumerate(CALLED)
        for wording in ASKED
    }
    with FeedbackStore(tmp_path / "feedback.db") as store:
        search = searching(encoder, data, list(questions))
        visit(store, search, questions, sessions=100, searches=3, habits=Habits())
        log = list(store.searches())
    before = measured(encoder, data)

    report = export_feedback(log, pages)
    data = Dataset.load(pages)
    assert report.splits["train"] > 50
    held_out = {f"{station}.pdf" for station in HELD_OUT}
    learnt = [one for one in data.questions("train") if one.origin == "feedback"]
    assert not held_out & {
        name.partition("#")[0] for one in learnt for name in (*one.page_ids, *one.negatives)
    }
    after = trained(data, tmp_path / "run")

    # The same clicks and marks under other people's queries: nothing can be learnt from them.
    wordings = [search.query for search in log]
    random.Random(0).shuffle(wordings)
    mixed = [replace(search, query=query) for search, query in zip(log, wordings, strict=True)]
    export_feedback(mixed, pages)
    control = trained(Dataset.load(pages), tmp_path / "control")

    means = [float(np.mean(scores)) for scores in (before, after, control)]
    assert randomization_test(before, after) < 0.001, means
    assert means[1] > means[0], means
    assert means[2] < means[0] or randomization_test(before, control) > 0.05, means
    assert randomization_test(control, after) < 0.001, means
