"""`sightline mine`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sightline.cli.main import app
from sightline.documents.dataset import Dataset
from support.mined_pages import mined_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined_pages(tmp_path_factory.mktemp("mined"))


def mine(pages: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["mine", str(pages), *options])


def test_the_report_is_told_and_given_as_json(pages: Path) -> None:
    done = mine(pages, "--bm25", "-n", "2", "--no-margin", "--sampling", "random", "--seed", "3")
    assert done.exit_code == 0, done.output
    mined = Dataset.load(pages).mined()
    count = sum(len(row.negatives) for row in mined.rows)
    assert f"{count} negatives for {len(mined.rows)} pairs of question and page" in done.stdout
    assert "wanted" in done.stdout
    assert "`[data] negatives = 2`" in done.stderr
    rules = mined.facts["rules"]
    assert (rules["relative_margin"], rules["sampling_strategy"], rules["seed"]) == (None, "random", 3)
    again = mine(pages, "--bm25", "-n", "2", "--no-margin", "--sampling", "random", "--seed", "3", "--json")
    told = json.loads(again.stdout)
    assert told["negatives"] == count
    assert len(told["examples"]) == 5
    assert told["facts"]["rules"] == rules


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--model MODEL, or find pages by words with --bm25"),
        (("--bm25", "--range-min", "4", "--range-max", "6"), "widen the range"),
        (("--bm25", "--split", "validation"), "there is no split 'validation'"),
        (("--model", "absent-model"), "absent-model"),
    ],
)
def test_mistakes_end_in_one_line(pages: Path, options: tuple[str, ...], words: str) -> None:
    done = mine(pages, *options)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
