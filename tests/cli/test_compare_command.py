"""`sightline compare` and `sightline convert` as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.cli.main import main
from sightline.evaluation.saved import read_results
from support import page_datasets
from support.fixtures import MINILM


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ("bees", "bread", "bridges", "clocks", "rivers")
    return page_datasets.one_page_each(tmp_path_factory.mktemp("pages"), words, held_out=4)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def test_compare_writes_what_it_shows(
    pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capsys, "compare", "bm25", f"mini=text:{MINILM}", "--on", pages, "--precisions", "float32,int8", "--dims",
        "64", "-o", tmp_path / "r.json", "--markdown", tmp_path / "t.md", "--plot", tmp_path / "p.svg",
    )  # fmt: skip
    assert code == 0, err
    for word in ("bm25", "mini", "NDCG@10", "bytes/page", "64", "int8", "corrected for 1 comparisons"):
        assert word in out
    assert "measuring mini ..." in err
    saved = read_results(tmp_path / "r.json")
    assert [row.name for row in saved.rows] == ["bm25", "mini"]
    assert saved.baseline == "bm25"
    assert (tmp_path / "t.md").read_text().startswith("# Retrieval on out\n")
    assert (tmp_path / "p.svg").read_text().startswith("<svg ")
    # Read again, and told to a program.
    code, out, _ = run(capsys, "compare", tmp_path / "r.json", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)["rows"]] == ["bm25", "mini"]


def test_convert_there_and_back(pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "convert", pages, "-o", tmp_path / "beir", "--to", "beir", "--split", "test")
    assert code == 0
    assert "4 questions over 4 pages, test" in out
    code, _, err = run(capsys, "convert", tmp_path / "beir", "-o", tmp_path / "vidore", "--to", "vidore")
    assert code == 0, err
    code, _, err = run(capsys, "convert", tmp_path / "vidore", "-o", tmp_path / "again", "--to", "beir")
    assert code == 0, err
    for name in ("queries.jsonl", "qrels/test.tsv", "corpus.jsonl"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "beir" / name).read_text(), name
    code, _, err = run(capsys, "convert", tmp_path / "beir", "-o", tmp_path / "again", "--to", "trec")
    assert (code, err) == (1, f"Error: {tmp_path / 'again'} is there already; name a new folder\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "bm25"), "say with --on which folder"),
        (("compare", "bm25", "--on", "absent"), "absent: there is no such folder"),
        (("compare", "bm25", "--on", "PAGES", "--plot", "p.png"), "name a file that ends in .svg"),
        (("compare", "bm25", "--on", "PAGES", "--split", "dev"), "there is no split 'dev'"),
        (("compare", "run:x=absent.trec", "--on", "PAGES"), "absent.trec: there is no such run"),
        (("convert", "PAGES", "-o", "out", "--to", "vidore"), "one split, not 2; name one with --split"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...],
    message: str,
    pages: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *(pages if one == "PAGES" else one for one in arguments))
    assert code == 1
    assert out == ""
    assert err.startswith("Error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
