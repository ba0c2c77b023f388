"""The folder of runs: what is listed, told and compared, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.errors import DataError
from sightline.evaluation.rows import compare
from sightline.evaluation.saved import read_results
from sightline.runs.shelf import Shelf
from support.made_runs import made_run, unfinished_run


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf") / "runs"
    made_run(folder / "first", noise=3.0, created="2026-01-01T10:00:00+00:00")
    made_run(folder / "second", noise=1.0, rate=3e-4, created="2026-01-03T10:00:00+00:00")
    made_run(folder / "elsewhere", data="letters", created="2026-01-02T10:00:00+00:00")
    unfinished_run(folder / "stopped")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "results.json").write_text('{"format": "sightline-results", "version": 1}')
    (folder / "notes").mkdir()
    (folder.parent / "outside").mkdir()
    made_run(folder.parent / "outside" / "run")
    return Shelf(folder)


def test_the_list_is_newest_first_and_says_what_cannot_be_read(shelf: Shelf) -> None:
    runs = {run.name: run for run in shelf.all()}
    finished = [name for name, run in runs.items() if run.status == "finished"]
    assert finished == ["second", "elsewhere", "first"]
    assert set(runs) == {"first", "second", "elsewhere", "stopped", "damaged"}

    damaged = runs["damaged"]
    assert damaged.status == "unreadable"
    assert "damaged" in str(damaged.problem)
    stopped = runs["stopped"]
    assert (stopped.status, stopped.step, stopped.max_steps) == ("unfinished", 40, 120)

    second = runs["second"]
    assert second.change is not None
    assert second.change.before_name == "untuned"
    assert second.change.difference == pytest.approx(second.change.after - second.change.before)
    assert second.dataset == "data/pages"  # and nothing above it
    assert second.report


def test_a_run_tells_what_its_file_says(shelf: Shelf) -> None:
    run = shelf.run("second")
    assert [one.name for one in run.systems] == ["untuned", "fine-tuned"]
    saved = read_results(shelf.folder / "second" / "results.json").rows[1]
    assert run.systems[1].metrics["ndcg@10"] == pytest.approx(saved.result.scores["ndcg@10"])
    assert run.systems[1].intervals["ndcg@10"] == pytest.approx((saved.interval().low, saved.interval().high))
    assert set(run.systems[1].by_dim) == {"32", "16", "8"}
    assert run.comparisons[0].after.name == "fine-tuned"
    assert len(run.log) == 10
    assert run.log_metric == "eval_ndcg@10"
    assert run.settings["training.learning_rate"] == 3e-4
    assert "learning_rate" in run.recipe

    stopped = shelf.run("stopped")
    assert [entry["step"] for entry in stopped.log] == [10, 20, 30, 40]
    assert shelf.run("damaged").summary.status == "unreadable"


def test_runs_on_the_same_data_are_compared_question_by_question(shelf: Shelf) -> None:
    found = shelf.compare(["first", "second"])
    assert found.comparable
    rows = [read_results(shelf.folder / name / "results.json").rows[1] for name in ("first", "second")]
    expected = compare(*rows)
    (apart,) = found.differences
    assert apart.run == "second"
    assert apart.difference == pytest.approx(expected.difference.mean)
    assert (apart.low, apart.high) == pytest.approx((expected.difference.low, expected.difference.high))
    assert apart.verdict == "better"


def test_runs_on_other_data_are_shown_and_not_compared(shelf: Shelf) -> None:
    found = shelf.compare(["first", "elsewhere"])
    assert not found.comparable
    assert "other questions or pages" in str(found.reason)
    assert found.differences == ()
    assert [run.name for run in found.runs] == ["first", "elsewhere"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["first"], "two runs or more"),
        (["first", "first"], "two runs or more"),
        (["first", "nowhere"], "no run 'nowhere'"),
        (["first", "stopped"], "'stopped' has no results"),
    ],
)
def test_what_cannot_be_compared_is_refused(shelf: Shelf, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        shelf.compare(names)


@pytest.mark.parametrize(
    "name", ["../outside/run", "..", ".", "", "first/../second", "/etc", "notes", "first\0"]
)
def test_a_name_never_leads_out_of_the_folder(shelf: Shelf, name: str) -> None:
    for read in (shelf.run, shelf.report):
        with pytest.raises(DataError, match="no run"):
            read(name)


def test_a_replaced_file_is_read_again(tmp_path: Path) -> None:
    made_run(tmp_path / "run", noise=1.5)
    shelf = Shelf(tmp_path)
    before = shelf.all()[0].value
    made_run(tmp_path / "other", noise=0.3)
    (tmp_path / "other" / "results.json").replace(tmp_path / "run" / "results.json")
    assert shelf.run("run").summary.value != before


def test_a_folder_that_is_a_run_or_is_not_there_yet(tmp_path: Path) -> None:
    made_run(tmp_path / "only")
    assert [run.name for run in Shelf(tmp_path / "only").all()] == ["only"]
    assert Shelf(tmp_path / "later").all() == []
