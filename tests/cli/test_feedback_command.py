"""`sightline feedback`: export, report, forget, and what they say when they cannot."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sightline.cli.main import app
from sightline.documents.dataset import Dataset
from sightline.feedback.store import FeedbackStore
from support.page_datasets import one_page_each


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_page_each(
        tmp_path_factory.mktemp("pages"), ["anchor", "beacon", "cable", "dredge"], held_out=1
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A search a hundred days ago, and one now, of two sessions."""
    path = tmp_path / "feedback.db"
    now = datetime.now(UTC)
    hits = [("beacon.pdf#p0", 1, 0.9), ("anchor.pdf#p0", 2, 0.8)]
    with FeedbackStore(path) as opened:
        for name, time in (("old", now - timedelta(days=100)), ("new", now)):
            opened.record_search(
                name, f"the {name} one", None, hits, "v1", "m", "hybrid", session=name, time=time
            )
            opened.mark(name, "anchor.pdf#p0", "relevant")
            opened.mark(name, "beacon.pdf#p0", "click")
    return path


def feedback(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["feedback", *map(str, arguments)])


def test_export_into_a_dataset(store: Path, made: Path, tmp_path: Path) -> None:
    pages = shutil.copytree(made, tmp_path / "pages")
    done = feedback("export", store, "--dataset", pages)
    assert done.exit_code == 0, done.output
    assert "2 questions from feedback (2 train; 2 by marks, 0 by clicks alone)" in done.stdout
    assert f"sightline train RECIPE data.dataset={pages}" in done.stderr
    asked = [one for one in Dataset.load(pages).questions("train") if one.origin == "feedback"]
    assert [(one.query, one.page_ids) for one in asked] == [
        ("the old one", ("anchor.pdf#p0",)),
        ("the new one", ("anchor.pdf#p0",)),
    ]
    told = json.loads(feedback("export", store, "-d", pages, "--since", "90d", "--eta", "0", "--json").stdout)
    assert (told["questions"], told["removed"]) == ({"train": 1}, 1)
    assert told["position_bias"] == {"eta": 0.0, "source": "given", "error": None}


def test_export_into_a_file(store: Path, made: Path, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    done = feedback("export", store, "-d", made, "-o", file, "--marks-only", "--no-skipped")
    assert "sightline ingest" in done.stderr
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["query"], line["split"], line["origin"]) for line in lines] == [
        ("the old one", "train", "feedback"),
        ("the new one", "train", "feedback"),
    ]


def test_report(store: Path) -> None:
    shown = feedback("report", store).stdout
    assert "2 searches for 2 queries" in shown
    assert "MRR" in shown
    told = json.loads(feedback("report", store, "--since", "90d", "--json").stdout)
    assert (told["searches"], told["versions"][0]["mrr"], told["ranks"][0]["clicked"]) == (1, 0.5, 1)


def test_forget(store: Path) -> None:
    assert "1 searches and 2 marks deleted" in feedback("forget", store, "--before", "90d").stdout
    assert "1 searches and 2 marks deleted" in feedback("forget", store, "--query", "THE new  one?").stdout
    assert "0 searches and 0 marks deleted" in feedback("forget", store, "--session", "new").stdout
    with FeedbackStore(store) as opened:
        assert list(opened.searches()) == []


def test_what_cannot_be_done(store: Path, tmp_path: Path) -> None:
    nothing = feedback("forget", store)
    assert nothing.exit_code == 1
    assert "say what is to be forgotten" in nothing.stderr
    missing = feedback("report", tmp_path / "none.db")
    assert "there is no such file; `sightline serve" in missing.stderr
    assert not (tmp_path / "none.db").exists()
    when = feedback("forget", store, "--before", "yesterday")
    assert when.exit_code == 2
    assert "no date like 2025-03-04" in when.stderr
    rules = feedback("export", store, "-d", tmp_path, "--eta", "-1")
    assert (rules.exit_code, "eta must be between 0" in rules.stderr) == (1, True)
