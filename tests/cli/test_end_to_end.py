"""The whole road by its commands, in processes of their own: ingest, train, eval, index, search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from reportlab.pdfgen import canvas

from support.fixtures import MINILM

SUBJECTS = {
    "bees": "Honey bees keep warm in a cluster and turn nectar into honey.",
    "bread": "Yeast makes dough rise before the loaf goes into the oven.",
    "bridges": "Steel cables carry the deck of a suspension bridge.",
    "clocks": "A pendulum of one metre swings once each second.",
    "rivers": "The river drops its silt where it meets the sea.",
    "violins": "The four strings of a violin are tuned in fifths.",
    "volcanoes": "Lava flows from the crater and cools to basalt.",
    "whales": "Whales breathe air and call to each other under water.",
}
CHAPTERS = ("history", "figures", "outlook")

RECIPE = f"""
[model]
name = '{MINILM}'
[data]
dataset = "pages"
fields = "text"
[loss.matryoshka]
dims = [384, 64]
[training]
num_train_epochs = 1
per_device_train_batch_size = 8
eval_strategy = "epoch"
logging_steps = 1
[output]
dir = "run"
"""


def sightline(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "sightline.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=where,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
        timeout=200,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with PDFs (one of them broken), a question file and a recipe; ingested and trained on."""
    work = tmp_path_factory.mktemp("work")
    (work / "documents").mkdir()
    questions = []
    for subject, fact in SUBJECTS.items():
        sheet = canvas.Canvas(str(work / "documents" / f"{subject}.pdf"), pagesize=(300, 200), invariant=1)
        for number, chapter in enumerate(CHAPTERS):
            sheet.drawString(20, 150, f"{subject.title()}: {chapter}")
            sheet.drawString(20, 120, fact)
            sheet.showPage()
            questions.append(
                {
                    "id": f"{subject}-{chapter}",
                    "query": f"Where do I read about the {chapter} of {subject}?",
                    "document": f"{subject}.pdf",
                    "pages": [number],
                }
            )
        sheet.save()
    (work / "documents" / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (work / "questions.jsonl").write_text("".join(json.dumps(item) + "\n" for item in questions))
    (work / "recipe.toml").write_text(RECIPE)
    return work


@pytest.fixture(scope="module")
def ingested(work: Path) -> Path:
    done = sightline(work, "ingest", "documents", "-o", "pages", "-q", "questions.jsonl", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["documents"], report["pages"], report["questions"]) == (8, 24, 24)
    assert list(report["skipped"]) == ["broken.pdf"]
    assert "skipped broken.pdf:" in done.stderr
    return work


@pytest.fixture(scope="module")
def trained(ingested: Path) -> Path:
    done = sightline(ingested, "train", "recipe.toml", "training.learning_rate=3e-5", "training.seed=7")
    assert done.returncode == 0, done.stderr
    for word in ("bm25", "untuned", "fine-tuned", "NDCG@10", "@64", "report.html", "Next: sightline index"):
        assert word in done.stdout
    assert "inherited: " in done.stderr
    assert "Memory plan: " in done.stderr
    assert "loss " in done.stderr
    assert "evaluation: ndcg@10" in done.stderr
    return ingested


def test_ingest_again_reads_nothing_anew(ingested: Path) -> None:
    done = sightline(ingested, "ingest", "documents", "-o", "pages", "-q", "questions.jsonl")
    assert done.returncode == 0
    assert "24 pages from 8 documents (8 unchanged since the last run)" in done.stdout


def test_run_folder(trained: Path) -> None:
    run = trained / "run"
    resolved = tomllib.loads((run / "resolved.toml").read_text())
    assert resolved["training"]["learning_rate"] == 3e-5
    assert resolved["training"]["seed"] == 7
    assert resolved["training"]["lr_scheduler_type"] == "linear"
    assert resolved["loss"]["similarity"] == "cosine"
    rows = json.loads((run / "results.json").read_text())["rows"]
    assert [(row["name"], row["fields"]) for row in rows] == [
        ("bm25", "text"),
        ("untuned", "text"),
        ("fine-tuned", "text"),
    ]
    assert all(0 <= row["ndcg@10"] <= 1 for row in rows)
    assert {"map", "recall@10", "ndcg@10@64"} <= set(rows[1])
    report = (run / "report.html").read_text()
    assert "</html>" in report
    for section in ("Results", "Size and speed", "Training", "What was found in the data", "Recipe"):
        assert f"<h2>{section}</h2>" in report, section
    assert (run / "final" / "modules.json").exists()
    assert "sightline" in (run / "final" / "README.md").read_text().lower()


def test_the_report_is_made_again_from_the_results(trained: Path) -> None:
    first = (trained / "run" / "report.html").read_text()
    done = sightline(trained, "report", "run", "-o", "again.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert (trained / "again.html").read_text() == first
    # Pages that are gone, or others, are told of and not shown.
    assert first.count("data:image/jpeg") > 0
    os.rename(trained / "pages", trained / "moved")
    try:
        done = sightline(trained, "report", "run/results.json", "-o", "bare.html")
        assert done.returncode == 0
        assert done.stderr.startswith("without pictures of pages: there is no folder of pages at ")
        assert "data:image/jpeg" not in (trained / "bare.html").read_text()
        assert sightline(trained, "report", "run", "--dataset", "moved", "-o", "bare.html").returncode == 0
        assert "data:image/jpeg" in (trained / "bare.html").read_text()
        done = sightline(trained, "report", "run", "--dataset", "documents", "-o", "none.html")
        assert done.returncode == 1
        assert not (trained / "none.html").exists()
    finally:
        os.rename(trained / "moved", trained / "pages")


def test_a_finished_run_is_not_overwritten(trained: Path) -> None:
    done = sightline(trained, "train", "recipe.toml")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: run holds a finished run; choose another output.dir, or add output.overwrite=true\n"
    )


def test_eval_compares_models(trained: Path) -> None:
    command = ("eval", "run/final", "pages", "--compare", str(MINILM), "--dims", "128,64", "--json")
    done = sightline(trained, *command, "--report", "report.html")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["name"] for row in found["rows"]] == ["bm25", "model", "final"]
    assert found["comparisons"]
    assert "</html>" in (trained / "report.html").read_text()
    # The trained model, read back from its folder, scores what it scored when its run ended.
    results = json.loads((trained / "run" / "results.json").read_text())["rows"][-1]
    assert found["rows"][-1]["ndcg@10"] == pytest.approx(results["ndcg@10"], abs=1e-6)


def test_a_finished_run_is_compared_with_a_model(trained: Path) -> None:
    done = sightline(trained, "compare", "run", f"mini=text:{MINILM}", "--baseline", "untuned", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == ["bm25", "untuned", "run", "mini"]
    # The dataset is the run's, and the model that was tuned there is this one.
    assert rows["mini"]["ndcg@10"] == pytest.approx(rows["untuned"]["ndcg@10"], abs=1e-6)
    assert rows["run"]["cost"]["bytes_per_page"] == 1536
    assert [cell["cost"]["bytes_per_page"] for cell in rows["run"]["cells"]] == [1536, 256]
    assert rows["mini"]["cost"]["ms_per_query"] > 0


def test_index_and_search(trained: Path) -> None:
    built = sightline(trained, "index", "pages", "-m", "run/final", "-o", "index")
    assert built.returncode == 0, built.stderr
    assert "24 pages of 8 documents, 384 dimensions" in built.stdout
    assert built.stderr == ""
    done = sightline(
        trained, "search", "index", "Where do I read about the outlook of bees?", "-k", "3", "--json"
    )
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)["hits"]
    assert (hits[0]["document"], hits[0]["page"]) == ("bees.pdf", 2)
    assert len(hits) == 3
    shown = sightline(trained, "search", "index", "pendulum [metre] of clocks", "--mode", "text")
    assert shown.returncode == 0
    assert shown.stdout.startswith("1. clocks.pdf, page ")
    assert "pendulum" in shown.stdout


def test_images_need_a_model_that_sees(ingested: Path) -> None:
    done = sightline(ingested, "eval", str(MINILM), "pages", "--fields", "image")
    assert done.returncode == 1
    assert 'use fields "text"' in done.stderr
