"""Systems of every kind on the same questions: models, BM25, runs of other software, finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sightline.documents.collection import collection_of, exam_of, open_collection, open_exam
from sightline.documents.dataset import Dataset
from sightline.documents.mining import EMBEDDINGS
from sightline.errors import ConfigError, DataError
from sightline.evaluation.beir import write_beir
from sightline.evaluation.saved import read_results
from sightline.evaluation.trec import read_run, write_qrels, write_run
from sightline.runs.compare import compare_models
from sightline.runs.contest import compare_systems
from sightline.runs.systems import Bm25, ExternalRun, Model, parse_system, parse_systems
from support import page_datasets
from support.fixtures import MINILM
from support.tiny_rerankers import bert_scores

WORDS = (
    "bees",
    "bread",
    "bridges",
    "clocks",
    "ferns",
    "glass",
    "lamps",
    "rivers",
    "ships",
    "violins",
    "whales",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_datasets.one_page_each(tmp_path_factory.mktemp("pages"), WORDS, held_out=10)


@pytest.fixture(scope="module")
def external(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that puts the right page second, and knows nothing of the last question."""
    exam = open_exam(pages)
    run = {}
    for qid in list(exam.queries)[:-1]:
        (right,) = exam.relevant[qid]
        wrong = next(docid for docid in exam.corpus if docid != right)
        run[qid] = {wrong: 2.0, right: 1.0}
    return write_run(run, tmp_path_factory.mktemp("run") / "theirs.trec")


def test_a_dataset_as_a_collection(pages: Path) -> None:
    dataset = Dataset.load(pages)
    whole = collection_of(dataset)
    assert set(whole.qrels) == {"train", "test"}
    assert len(whole.corpus) == 11
    exam = exam_of(dataset, "test")
    assert len(exam.corpus) == len(exam.queries) == 10
    assert exam.texts["bread.pdf#p0"] == "All about bread"
    assert exam.facets["document"]["bread"] == "bread.pdf"
    assert set(exam.facets["modality"].values()) == {"image and text"}
    assert set(exam.facets["origin"].values()) == {"person"}
    assert exam.facts["fingerprint"] == open_exam(pages).fingerprint
    every = exam_of(dataset, None)
    assert (every.split, len(every.queries), len(every.corpus)) == ("all", 11, 11)
    assert every.fingerprint != exam.fingerprint
    with pytest.raises(DataError, match="no split 'dev'"):
        exam_of(dataset, "dev")


def test_beir_of_a_dataset_asks_the_same(pages: Path, tmp_path: Path) -> None:
    folder = write_beir(open_collection(pages, split="test"), tmp_path / "beir")
    ours, theirs = open_exam(pages), open_exam(folder)
    assert theirs.queries == ours.queries
    assert theirs.relevant == ours.relevant
    assert theirs.texts == ours.texts
    assert theirs.facets["document"] == ours.facets["document"]
    with pytest.raises(DataError, match="there is no such folder"):
        open_exam(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="no folder of BEIR"):
        open_exam(tmp_path / "other")


def test_all_kinds_in_one_table(pages: Path, external: Path, tmp_path: Path) -> None:
    told: list[str] = []
    found = compare_systems(
        ["bm25", f"mine=text:{MINILM}", f"run:theirs={external}"],
        on=pages,
        dims=(384, 64, 5000),
        precisions=("float32", "int8", "binary+int8"),
        runs=tmp_path / "runs",
        tell=told.append,
    )
    assert [(row.name, row.fields) for row in found.rows] == [
        ("bm25", "text"),
        ("mine", "text"),
        ("theirs", ""),
    ]
    bm25, mine, theirs = (row.result for row in found.rows)
    assert theirs.scores["mrr@10"] == pytest.approx(0.45)
    assert any("1 of 10 questions are not in" in line for line in told)
    assert any("left out: 5000" in line for line in told)
    assert found.baseline == "bm25"
    assert [comparison.after.name for comparison in found.comparisons] == ["mine", "theirs"]
    assert [str(cell.storage) for cell in mine.cells] == [
        "384 float32",
        "384 int8",
        "384 binary+int8",
        "64 float32",
        "64 int8",
        "64 binary+int8",
    ]
    assert mine.cost is not None
    assert mine.cost.bytes_per_page == 1536
    assert mine.cost.ms_per_page is not None
    assert bm25.cost is not None
    assert bm25.cost.bytes_per_page > 0
    assert theirs.cost is None
    again = read_run(tmp_path / "runs" / "mine-text.trec")
    assert {qid: max(run, key=run.__getitem__) for qid, run in again.items()} == {
        qid: top[0][0] for qid, top in mine.top.items()
    }
    for name in ("table.md", "plot.svg", "r.json"):
        {"md": found.write_markdown, "svg": found.write_plot, "json": found.write}[name.split(".")[1]](
            tmp_path / name
        )
    table = (tmp_path / "table.md").read_text()
    assert "| bm25 | text |" in table
    assert "384 |" in table
    assert "(Holm)" in table
    plot = (tmp_path / "plot.svg").read_text()
    assert "theirs (cost not known)" in plot
    assert plot.count("<polyline") == 3
    assert [row.label for row in read_results(tmp_path / "r.json").rows] == [row.label for row in found.rows]


def test_finished_runs_are_read_and_not_measured(pages: Path, external: Path, tmp_path: Path) -> None:
    first = compare_systems(["bm25", str(MINILM)], on=pages)
    first.write(tmp_path / "a" / "results.json")
    other = compare_systems(["bm25", f"run:theirs={external}"], on=pages)
    other.write(tmp_path / "b.json")
    found = compare_systems([str(tmp_path / "a"), f"b again={tmp_path / 'b.json'}"], baseline="bm25")
    assert [row.name for row in found.rows] == ["bm25", "a", "b again"]
    assert [row.result.scores.mean for row in found.rows] == [
        first.rows[0].result.scores.mean,
        first.rows[1].result.scores.mean,
        other.rows[1].result.scores.mean,
    ]
    assert found.facts["fingerprint"] == first.facts["fingerprint"]
    # Beside systems that are measured now: the dataset is the one the run was measured with.
    mixed = compare_systems([str(tmp_path / "a"), f"run:theirs={external}"])
    assert [row.name for row in mixed.rows] == ["bm25", "a", "theirs"]
    assert [one.difference for one in mixed.comparisons] == [
        one.difference
        for one in compare_systems(["bm25", str(MINILM), f"run:theirs={external}"], on=pages).comparisons
    ]


def test_nothing_is_embedded_twice(pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.models.encoder import Encoder

    calls: list[int] = []
    encode = Encoder.encode

    def counting(self: Encoder, inputs: Any, **options: Any) -> Any:
        calls.append(len(inputs))
        return encode(self, inputs, **options)

    monkeypatch.setattr(Encoder, "encode", counting)
    cache = tmp_path / "vectors"
    first, again = (compare_systems([str(MINILM)], on=pages, cache=cache).rows[0].result for _ in range(2))
    assert calls == [10, 10]  # questions and pages, once
    assert again.scores.per_query == first.scores.per_query
    assert first.cost is not None
    assert again.cost is not None
    # The speed is that of the first time, kept beside the vectors.
    assert again.cost.ms_per_page == first.cost.ms_per_page
    # A dataset keeps them itself, and mining finds them there.
    compare_systems([str(MINILM)], on=pages)
    assert list((pages / EMBEDDINGS).glob("*.vectors"))


def test_results_over_other_questions_are_refused(pages: Path, tmp_path: Path) -> None:
    compare_systems(["bm25"], on=pages).write(tmp_path / "test.json")
    compare_systems(["bm25"], on=pages, split="all").write(tmp_path / "all.json")
    with pytest.raises(DataError, match="measured with different questions or pages"):
        compare_systems([str(tmp_path / "test.json"), str(tmp_path / "all.json")])
    with pytest.raises(
        DataError, match=r"all.json was measured with other questions .*11 questions.*here they are 10"
    ):
        compare_systems([str(tmp_path / "all.json")], on=pages)
    within = compare_models([str(MINILM)], pages, within_document=True)
    within.write(tmp_path / "within.json")
    with pytest.raises(DataError, match="within each question's own document"):
        compare_systems([str(tmp_path / "within.json")])
    values = json.loads((tmp_path / "test.json").read_text())
    del values["facts"]["fingerprint"]
    (tmp_path / "old.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="does not say which questions"):
        compare_systems([str(tmp_path / "old.json")])


def test_a_reranker_behind_every_cell(pages: Path, tmp_path: Path) -> None:
    reranker = bert_scores(tmp_path / "tiny-reranker")
    outcome = compare_models(
        [str(MINILM)],
        pages,
        precisions=("float32", "binary"),
        reranker=str(reranker),
        rerank_depths=(2, 4),
        bm25=False,
    )
    assert [row.name for row in outcome.rows] == [
        "model",
        "model + tiny-reranker to 2",
        "model + tiny-reranker to 4",
    ]
    plain, *reranked = outcome.rows
    cells = {(str(cell.storage), cell.depth): cell for cell in plain.result.cells}
    assert [depth for _, depth in cells] == [0, 0, 2, 4, 2, 4]
    for row, depth in zip(reranked, (2, 4), strict=True):
        # The row and its cell come out of the same scores of pairs.
        assert row.result.scores.mean == pytest.approx(cells["384 float32", depth].scores.mean)
        assert row.result.cost is not None
        assert plain.result.cost is not None
        assert (row.result.cost.ms_per_query or 0) > (plain.result.cost.ms_per_query or 0)


def test_other_judgments(pages: Path, tmp_path: Path) -> None:
    exam = open_exam(pages)
    first, second = list(exam.queries)[:2]
    write_qrels({first: {second + ".pdf#p0": 1.0}}, tmp_path / "qrels")
    found = compare_systems(["bm25"], on=pages, qrels=tmp_path / "qrels")
    assert list(found.rows[0].result.queries) == [first]
    assert found.facts["judgments"] == str(tmp_path / "qrels")
    write_qrels({"nobody": {"x": 1.0}}, tmp_path / "qrels")
    with pytest.raises(DataError, match="judges none of the questions"):
        compare_systems(["bm25"], on=pages, qrels=tmp_path / "qrels")


def test_names_of_systems(tmp_path: Path) -> None:
    assert parse_system("bm25") == Bm25()
    assert parse_system("text:org/model") == Model("model", "org/model", "text")
    assert parse_system("org/model") == Model("model", "org/model")
    assert parse_system("my model=image:org/x") == Model("my model", "org/x", "image")
    assert parse_system("run:ours=a=b.trec") == ExternalRun("ours", Path("a=b.trec"))
    assert parse_systems(["text:org/m", "image:org/m"]) == [
        Model("m", "org/m", "text"),
        Model("m", "org/m", "image"),
    ]
    assert [system.name for system in parse_systems(["a/final", "b/final"])] == ["a/final", "b/final"]
    with pytest.raises(ConfigError, match="write run:NAME=FILE"):
        parse_system("run:file.trec")
    with pytest.raises(ConfigError, match="name a model, as in text:MODEL"):
        parse_system("text:")
    with pytest.raises(ConfigError, match="two systems are called 'bm25'"):
        parse_systems(["bm25", "bm25"])
    with pytest.raises(ConfigError, match="name at least one system"):
        compare_systems([])
    with pytest.raises(ConfigError, match="say with --on"):
        compare_systems(["bm25"])


def test_what_does_not_fit_is_told_before_anything_is_measured(
    pages: Path, external: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="the baseline 'nobody' is not in the table; it has bm25"):
        compare_systems(["bm25"], on=pages, baseline="nobody")
    with pytest.raises(ConfigError, match="unknown precision 'int2'"):
        compare_systems(["bm25"], on=pages, precisions=("int2",))
    write_run({"else": {"x": 1.0}}, tmp_path / "run")
    with pytest.raises(DataError, match="none of its queries is a question"):
        compare_systems(["absent/model", f"run:x={tmp_path / 'run'}"], on=pages)
    write_run({"bread": {"lost.pdf#p0": 1.0}}, tmp_path / "run")
    with pytest.raises(DataError, match=r"query 'bread': 'lost.pdf#p0' is no page"):
        compare_systems(["absent/model", f"run:x={tmp_path / 'run'}"], on=pages)
