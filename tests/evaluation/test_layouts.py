"""BEIR's and ViDoRe's layouts: written and read again, as other software writes them, and damaged."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sightline.errors import DataError
from sightline.evaluation.beir import is_beir, read_beir, write_beir
from sightline.evaluation.collection import Collection
from sightline.evaluation.trec import read_qrels, write_trec
from sightline.evaluation.vidore import is_vidore, read_vidore, write_vidore


def picture(folder: Path, seed: int) -> Path:
    path = folder / f"{seed}.png"
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    folder = tmp_path / "pictures"
    folder.mkdir()
    corpus = {
        "annual report.pdf#p0": {"text": "Costs\u2028and „returns“", "image": picture(folder, 0)},
        "annual report.pdf#p1": {"image": picture(folder, 1)},
        "b.pdf#p0": {"title": "B", "text": "About b", "image": picture(folder, 1)},
    }
    return Collection(
        "made",
        {"q1": "Was kostet es?", "q 2": "What is b?"},
        corpus,
        {"test": {"q1": {"annual report.pdf#p0": 2.0, "b.pdf#p0": 0.0}, "q 2": {"b.pdf#p0": 1.5}}},
        {"language": {"q1": "de", "q 2": "en"}, "kind": {"q1": "table"}},
    )


def content(found: Collection) -> dict[str, dict[str, object]]:
    """The corpus with bytes in place of paths."""
    return {
        docid: {
            name: value.read_bytes() if isinstance(value, Path) else value for name, value in parts.items()
        }
        for docid, parts in found.corpus.items()
    }


def test_beir_round_trip(collection: Collection, tmp_path: Path) -> None:
    both = replace(collection, qrels={**collection.qrels, "train": {"q1": {"b.pdf#p0": 1.0}}})
    again = read_beir(write_beir(both, tmp_path / "beir"))
    assert (again.queries, again.qrels, again.facets) == (both.queries, both.qrels, both.facets)
    assert content(again) == content(both)
    assert len(list((tmp_path / "beir" / "images").iterdir())) == 2
    header = (tmp_path / "beir" / "qrels" / "test.tsv").read_text().splitlines()
    assert header[:2] == ["query-id\tcorpus-id\tscore", "q1\tannual report.pdf#p0\t2"]
    assert is_beir(tmp_path / "beir")
    assert not is_vidore(tmp_path / "beir")
    assert again.exam("test").fingerprint == replace(both, name="beir").exam("test").fingerprint
    with pytest.raises(DataError, match="is there already"):
        write_beir(both, tmp_path / "beir")


def test_beir_as_others_write_it(tmp_path: Path) -> None:
    """Texts alone, ids that are numbers, metadata of their own; the title stands before the text."""
    (tmp_path / "qrels").mkdir()
    corpus = [
        {"_id": 7, "title": "Title", "text": "Body."},
        {"_id": "8", "title": "", "text": "", "metadata": {}},
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in corpus))
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "1", "text": "q?", "metadata": {"url": "x", "query": 3}}\n'
    )
    (tmp_path / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n1\t7\t1\n1\t8\t0\n")
    exam = read_beir(tmp_path).exam()
    assert exam.texts == {"7": "Title Body.", "8": ""}
    assert exam.relevant == {"1": {"7": 1.0, "8": 0.0}}
    assert exam.facets == {}
    assert exam.values("text")["7"] == {"text": "Title Body."}
    assert not exam.has("image")
    with pytest.raises(DataError, match="document '7' has no image"):
        exam.values("image")


def test_bad_lines_of_beir_are_named_together(collection: Collection, tmp_path: Path) -> None:
    folder = write_beir(collection, tmp_path / "beir")
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "x", "text": 3}\nnot JSON\n{"text": "no id"}\n')
        file.write('{"_id": "y", "metadata": {"image": "images/lost.png"}}\n{"_id": "b.pdf#p0"}\n')
    with (folder / "queries.jsonl").open("a") as file:
        file.write('{"_id": "q1", "text": "again"}\n{"_id": "q3", "text": " "}\n')
    with (folder / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tlost\t1\nnobody\tb.pdf#p0\t1\nq1 b 1\nq1\tb.pdf#p0\thigh\n")
    with pytest.raises(DataError) as caught:
        read_beir(folder)
    assert [line.split(": ", 1)[0] for line in str(caught.value).splitlines()] == [
        *(f"corpus.jsonl:{number}" for number in (4, 5, 6, 7, 8)),
        *(f"queries.jsonl:{number}" for number in (3, 4)),
        *(f"test.tsv:{number}" for number in (5, 6, 7, 8)),
    ]
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(DataError, match=r"no file of judgments"):
        read_beir(folder)


def test_nothing_half_written_stays(collection: Collection, tmp_path: Path) -> None:
    broken = replace(collection, qrels={"test": {"tab\tin it": {"b.pdf#p0": 1.0}}})
    with pytest.raises(DataError, match="holds a tab"):
        write_beir(broken, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_vidore_round_trip(collection: Collection, tmp_path: Path) -> None:
    again = read_vidore(write_vidore(collection, tmp_path / "vidore"), tmp_path / "media")
    assert (again.queries, again.qrels, again.facets) == (
        collection.queries,
        collection.qrels,
        collection.facets,
    )
    assert content(again) == content(collection)
    assert len(list((tmp_path / "media").iterdir())) == 2
    assert is_vidore(tmp_path / "vidore")
    assert again.exam().fingerprint == collection.exam().fingerprint
    with pytest.raises(DataError, match="one split, not 2"):
        write_vidore(replace(collection, qrels={"a": {}, "b": {}}), tmp_path / "other")
    with pytest.raises(DataError, match="document 'd' has no image"):
        write_vidore(replace(collection, corpus={"d": {"text": "x"}}), tmp_path / "other")


def test_datasets_loads_what_we_write(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    folder = str(write_vidore(collection, tmp_path / "vidore"))
    cache = str(tmp_path / "cache")
    corpus = datasets.load_dataset(folder, "corpus", split="test", cache_dir=cache)
    assert corpus["corpus-id"][0] == "annual report.pdf#p0"
    assert corpus[0]["image"].size == (7, 9)
    qrels = datasets.load_dataset(folder, "qrels", split="test", cache_dir=cache)
    assert qrels[0] == {"query-id": "q1", "corpus-id": "annual report.pdf#p0", "score": 2.0}


def png(seed: int) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (seed, 0, 0)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def test_vidore_as_others_write_it(tmp_path: Path) -> None:
    """The third version: numbers as ids, underscores, markdown, a document for each page."""
    tables = {
        "corpus": {
            "corpus_id": [0, 1],
            "image": [png(1), png(2)],
            "doc_id": ["r", "s"],
            "markdown": ["# A", ""],
        },
        "queries": {"query_id": [5], "query": ["what?"], "language": ["english"]},
        "qrels": {"query_id": [5], "corpus_id": [1], "score": [2]},
    }
    for name, columns in tables.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), tmp_path / "set" / name / "test-00000-of-00001.parquet")
    found = read_vidore(tmp_path / "set", tmp_path / "media")
    assert found.queries == {"5": "what?"}
    assert found.qrels == {"test": {"5": {"1": 2.0}}}
    assert found.facets == {"language": {"5": "english"}, "document": {"5": "s"}}
    assert found.exam().texts == {"0": "# A", "1": ""}
    assert set(found.exam().values("both")["0"]) == {"text", "image"}
    assert set(found.exam().values("both")["1"]) == {"image"}
    pq.write_table(
        pa.table({"query_id": [5], "corpus_id": [9], "score": [1]}),
        tmp_path / "set" / "qrels" / "test-00000-of-00001.parquet",
    )
    with pytest.raises(DataError, match=r"qrels/test-00000-of-00001.parquet, row 0: the document '9'"):
        read_vidore(tmp_path / "set", tmp_path / "media")


def test_the_first_version_is_one_table(tmp_path: Path) -> None:
    columns = {"query": ["one?", "two?", None], "image": [png(1), png(1), png(3)], "answer": ["a", "b", None]}
    (tmp_path / "set" / "data").mkdir(parents=True)
    pq.write_table(pa.table(columns), tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    found = read_vidore(tmp_path / "set", tmp_path / "media")
    assert list(found.queries.values()) == ["one?", "two?"]
    assert len(found.corpus) == 2
    assert found.qrels["test"]["q0"] == found.qrels["test"]["q1"]
    (tmp_path / "set" / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="cannot be read"):
        read_vidore(tmp_path / "set", tmp_path / "media")


def test_trec_folder(collection: Collection, tmp_path: Path) -> None:
    folder = write_trec(collection, tmp_path / "trec")
    assert (folder / "queries.tsv").read_text().splitlines() == ["q1\tWas kostet es?", "q%202\tWhat is b?"]
    assert read_qrels(folder / "qrels.test") == collection.qrels["test"]


def test_an_exam_asks_what_has_an_answer(collection: Collection) -> None:
    more = replace(collection, qrels={"test": {**collection.qrels["test"], "q1": {"b.pdf#p0": 0.0}}})
    assert list(more.exam("test").queries) == ["q 2"]
    with pytest.raises(DataError, match="there is no split 'dev'; it has test"):
        collection.exam("dev")
    with pytest.raises(DataError, match="name the split; it has a, b"):
        replace(collection, qrels={"a": {}, "b": {}}).exam()
    with pytest.raises(DataError, match=r"judges 1 queries that are not there, e.g. 'lost'"):
        replace(collection, qrels={"test": {"lost": {"b.pdf#p0": 1.0}}}).exam()
    exam = collection.exam()
    assert exam.fingerprint != replace(exam, queries={**exam.queries, "q1": "Anders?"}).fingerprint
    other = {**exam.corpus, "b.pdf#p0": {**exam.corpus["b.pdf#p0"], "text": "About c"}}
    assert exam.fingerprint != replace(exam, corpus=other).fingerprint
