"""Hard negatives for the questions of a dataset: which pages may be one, and what is left beside the dataset."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sightline.documents import store
from sightline.documents.dataset import Dataset
from sightline.documents.mining import mine_negatives, same_content
from sightline.documents.mining_rules import MiningRules
from sightline.documents.negatives import NEGATIVES, read_negatives
from sightline.documents.records import Page
from sightline.errors import ConfigError, DataError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support.fixtures import MINILM
from support.mined_pages import COPY, TEST, TRAIN, mined_pages
from support.tiny_rerankers import bert_scores

EVERYTHING = MiningRules(num_negatives=50, relative_margin=None)
PAIRS = (
    3 * len(TRAIN) + 2 + 2
)  # three questions per document, the two that are one text, the one with two pages


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined_pages(tmp_path_factory.mktemp("mined"))


@pytest.fixture
def pages(made: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test."""
    return Path(shutil.copytree(made, tmp_path / "pages"))


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return Encoder.from_pretrained(MINILM, device="cpu")


def test_every_page_that_may_be_a_negative_is_one_and_no_other(pages: Path, minilm: Encoder) -> None:
    report = mine_negatives(pages, minilm, rules=EVERYTHING, fields="text")
    data = Dataset.load(pages)
    rows = {(row.question_id, row.positive): row for row in data.mined().rows}
    assert len(rows) == report.pairs == PAIRS
    searched = {f"{word}.pdf#p{page}" for word in TRAIN for page in range(3)} | {f"{COPY}#p0"}
    history = {"bees.pdf#p1", f"{COPY}#p0"}  # one content, of which one is searched
    for (question, _), row in rows.items():
        right = {
            name
            for other in data.questions("train")
            if other.query == next(one.query for one in data.all_questions if one.id == question)
            for name in other.page_ids
        }
        if right & history:
            right |= history
        assert len(set(row.negatives)) == len(row.negatives)
        assert not set(row.negatives) & right, question
        wanted = searched - right
        if not right & history:
            wanted = {name for name in wanted if name not in history} | (history & set(row.negatives))
            assert len(history & set(row.negatives)) == 1
        assert set(row.negatives) == wanted, question
        assert list(row.scores) == sorted(row.scores, reverse=True)
        assert list(row.ranks) == list(range(1, len(row.ranks) + 1))
        assert not any(name.split(".")[0] in TEST for name in row.negatives)
    assert set(rows["price-bees", "bees.pdf#p2"].negatives).isdisjoint({"bread.pdf#p2"})
    assert report.facts["copies"] == 1
    assert report.dropped["same content as the right answer"] >= 1


def test_scores_are_the_models_and_margins_hold(pages: Path, minilm: Encoder) -> None:
    rules = MiningRules(num_negatives=3, relative_margin=0.2, absolute_margin=0.05)
    report = mine_negatives(pages, minilm, rules=rules, fields="text")
    data = Dataset.load(pages)
    queries, texts = data.queries("train"), data.corpus("text", "train")
    assert report.negatives == sum(len(row.negatives) for row in data.mined().rows) > 0
    for row in data.mined().rows:
        asked = minilm.encode_query([queries[row.question_id]])
        shown = minilm.encode_document([texts[name] for name in (row.positive, *row.negatives)])
        scores = minilm.similarity(asked, shown)[0].numpy()
        np.testing.assert_allclose([row.positive_score, *row.scores], scores, atol=1e-5)
        for score in row.scores:
            assert score <= row.positive_score * 0.8 + 1e-6
            assert score <= row.positive_score - 0.05 + 1e-6
    assert report.dropped["relative margin"] > 0
    text = "\n".join(report.lines())
    for words in (
        f"{report.negatives:,} negatives for {PAIRS} pairs",
        "relative margin",
        "rank:",
        "wanted",
        "mined",
    ):
        assert words in text
    assert len(report.examples) == 5
    gaps = [one.wanted_score - one.mined_score for one in report.examples]
    assert gaps == sorted(gaps)
    assert report.to_json()["negatives"] == report.negatives


def test_a_second_run_does_nothing_and_other_rules_embed_nothing(
    pages: Path, minilm: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = mine_negatives(pages, minilm, fields="text")
    content = (pages / NEGATIVES).read_bytes()
    told: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be embedded")

    monkeypatch.setattr(Encoder, "encode", refuse)
    with caplog.at_level(logging.INFO, "sightline"):
        again = mine_negatives(pages, minilm, fields="text", progress=lambda stage, *_: told.append(stage))
    assert "up to date" in caplog.text
    assert told == []
    assert (again.examples, again.dropped) == (first.examples, first.dropped)
    assert (pages / NEGATIVES).read_bytes() == content
    mine_negatives(pages, minilm, fields="text", rules=MiningRules(num_negatives=1))
    assert (pages / NEGATIVES).read_bytes() != content
    mine_negatives(pages, minilm, fields="text")
    assert (pages / NEGATIVES).read_bytes() == content
    assert not (pages / "mine.journal").exists()


def test_words_alone_and_both_fused(pages: Path, minilm: Encoder) -> None:
    rules = MiningRules(num_negatives=4, relative_margin=None)
    mine_negatives(pages, bm25=True, rules=rules)
    words = {row.question_id: row for row in read_negatives(pages).rows}
    whales = words[
        "whales-1"
    ]  # "When were whales first known?" shares a word with the other pages about whales
    assert set(whales.negatives[:2]) == {"whales.pdf#p0", "whales.pdf#p2"}
    assert whales.positive_score > 0
    mine_negatives(pages, minilm, bm25=True, fields="text", rules=rules)
    fused = {row.question_id: row for row in read_negatives(pages).rows}
    mine_negatives(pages, minilm, fields="text", rules=EVERYTHING)
    for name, row in {row.question_id: row for row in read_negatives(pages).rows}.items():
        known = dict(zip(row.negatives, row.scores, strict=True))
        # A page that only words have found has the model's score, too.
        for page, score in zip(fused[name].negatives, fused[name].scores, strict=True):
            assert score == pytest.approx(known[page], abs=1e-5)
    assert any(list(row.scores) != sorted(row.scores, reverse=True) for row in fused.values())


def test_a_reranker_scores_and_orders(pages: Path, minilm: Encoder, tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(bert_scores(tmp_path / "reranker"), device="cpu")
    rules = MiningRules(num_negatives=4, relative_margin=None, absolute_margin=0.0)
    report = mine_negatives(pages, minilm, reranker=reranker, fields="text", rules=rules)
    data = Dataset.load(pages)
    queries, texts = data.queries("train"), data.corpus("text", "train")
    for row in data.mined().rows:
        pairs = [(queries[row.question_id], texts[name]) for name in (row.positive, *row.negatives)]
        scores = reranker.predict(pairs)
        np.testing.assert_allclose([row.positive_score, *row.scores], scores, atol=1e-5)
        assert list(row.scores) == sorted(row.scores, reverse=True)
        assert all(score <= row.positive_score for score in row.scores)
    assert report.facts["reranker"]["name"] == reranker.name_or_path
    content = (pages / NEGATIVES).read_bytes()
    mine_negatives(pages, minilm, reranker=reranker, fields="text", rules=rules)
    assert (pages / NEGATIVES).read_bytes() == content


def test_pages_as_images_and_late_interaction(
    pages: Path, tiny_encoder: Callable[[str], Encoder], tiny: Callable[[str], Path]
) -> None:
    rules = MiningRules(num_negatives=3, relative_margin=None)
    mine_negatives(pages, tiny_encoder("clip"), fields="image", rules=rules)
    assert all(len(row.negatives) == 3 for row in Dataset.load(pages).mined().rows)
    assert read_negatives(pages).facts["fields"] == "image"
    late = Encoder.from_pretrained(tiny("bert"), device="cpu", multi_vector=True)
    mine_negatives(pages, late, rules=rules)
    data = Dataset.load(pages)
    row = data.mined().rows[0]
    asked = late.encode_query([data.queries("train")[row.question_id]])
    shown = late.encode_document([data.corpus("text", "train")[name] for name in row.negatives])
    np.testing.assert_allclose(row.scores, late.similarity(asked, shown)[0], atol=1e-4)


def test_what_shows_the_same() -> None:
    def page(name: str, **facts: str) -> Page:
        return Page(
            name, "d", 0, "", 1, 1, **({"text": "", "content_hash": name, "text_source": "pdf"} | facts)
        )

    long = "a text layer of more than two hundred letters " * 5
    pages = [
        page("a"),
        page("b", content_hash="a"),
        page("c", text=long),
        page("d", duplicate_of="b"),
        page("e", text="a short text"),
        page("f", text="a short text"),
        page("g", text=long, duplicate_of="a page elsewhere"),
        page("h", duplicate_of="a page elsewhere"),
        page("i", duplicate_of="j"),
        page("j"),
    ]
    assert same_content(pages).tolist() == [0, 0, 2, 0, 4, 5, 2, 2, 8, 8]


def test_rows_to_train_on(pages: Path, minilm: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    rules = MiningRules(num_negatives=3, relative_margin=None, min_score=0.35)
    mine_negatives(pages, minilm, fields="text", rules=rules)
    data = Dataset.load(pages)
    mined = data.mined().by_pair
    with caplog.at_level(logging.INFO, "sightline"):
        rows = data.train_rows("both", negatives=3)
    assert rows.column_names == ["anchor", "positive", "negative_1", "negative_2", "negative_3"]
    assert len(rows) == PAIRS
    pairs = [(one.id, name) for one in data.questions("train") for name in one.page_ids]
    empty = 0
    for row, pair in zip(rows, pairs, strict=True):
        cells = [row[f"negative_{number}"] for number in (1, 2, 3)]
        names = mined[pair]
        for cell, name in zip(cells, names):
            assert cell == {"text": data.page(name).text, "image": data.page(name).image}
        assert cells[len(names) :] == [None] * (3 - len(names))
        empty += len(names) < 3
    assert 0 < empty < len(rows)
    assert f"{empty} of {len(rows)} pairs have fewer than 3 negatives" in caplog.text
    assert data.train_rows("text", negatives=1)[0]["negative_1"] == data.page(mined[pairs[0]][0]).text
    with pytest.raises(DataError, match="at least 1"):
        data.train_rows("text", negatives=0)


def test_negatives_of_a_dataset_that_has_changed_are_refused(pages: Path, minilm: Encoder) -> None:
    with pytest.raises(DataError, match=r"sightline mine .* --model"):
        Dataset.load(pages).train_rows("text", negatives=1)
    mine_negatives(pages, minilm, fields="text")
    data = Dataset.load(pages)
    head = {name: value for name, value in data.head.items() if name not in ("format", "version")}
    documents = store.read_documents_table(pages)
    store.write_dataset(pages, documents, data.all_questions[:-1], head)
    with pytest.raises(DataError, match="have changed since"):
        Dataset.load(pages).train_rows("text", negatives=1)
    assert len(Dataset.load(pages).train_rows("text")) == PAIRS - 2
    mine_negatives(pages, minilm, fields="text")
    assert "negative_1" in Dataset.load(pages).train_rows("text", negatives=1).column_names


def test_held_out_documents_are_never_looked_at_unless_asked_for_and_then_it_is_told(
    pages: Path, minilm: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sightline"):
        mine_negatives(pages, minilm, fields="text", split="test", rules=EVERYTHING)
    assert "do not measure on what you train on" in caplog.text
    names = {name for row in read_negatives(pages).rows for name in row.negatives}
    assert {name.split(".")[0] for name in names} == set(TEST)
    with pytest.raises(DataError, match="of the split 'test', not of 'train'"):
        Dataset.load(pages).train_rows("text", negatives=1)


def test_the_file_says_what_it_was_made_of(pages: Path, minilm: Encoder) -> None:
    mine_negatives(pages, minilm, fields="text")
    table = pq.read_table(pages / NEGATIVES)
    assert table.column_names[:2] == ["question_id", "positive"]
    facts = read_negatives(pages).facts
    assert facts["rules"]["relative_margin"] == 0.05
    assert facts["model"]["name"] == str(MINILM)
    assert facts["split"] == "train"


def test_mistakes_are_told_before_anything_is_embedded(
    pages: Path, minilm: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "encode", None)
    with pytest.raises(ConfigError, match="give a model"):
        mine_negatives(pages)
    with pytest.raises(DataError, match="there is no such folder"):
        mine_negatives(tmp_path / "absent", minilm)
    with pytest.raises(DataError, match='use fields "text"'):
        mine_negatives(pages, minilm, fields="image")
    with pytest.raises(DataError, match="no split 'validation'"):
        mine_negatives(pages, minilm, split="validation")
    with store.locked(pages), pytest.raises(DataError, match="writing here"):
        mine_negatives(pages, minilm)
    data = Dataset.load(pages)
    head = {name: value for name, value in data.head.items() if name not in ("format", "version")}
    store.write_dataset(pages, store.read_documents_table(pages), [], head)
    with pytest.raises(DataError, match="no questions to find negatives for"):
        mine_negatives(pages, minilm)


def test_a_damaged_file_of_negatives_is_named_and_mined_again(pages: Path, minilm: Encoder) -> None:
    mine_negatives(pages, minilm, fields="text")
    content = (pages / NEGATIVES).read_bytes()
    (pages / NEGATIVES).write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"negatives\.parquet cannot be read"):
        Dataset.load(pages).mined()
    mine_negatives(pages, minilm, fields="text")
    assert (pages / NEGATIVES).read_bytes() == content
