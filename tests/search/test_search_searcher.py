"""Searching: modes, filters, hostile queries, snippets, the fake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.evaluation.fusion import reciprocal_rank_fusion
from sightline.search.fake import FakeSearcher
from sightline.search.index import build_index
from sightline.search.pages import PageRecord
from sightline.search.results import PageSearcher, run_queries
from sightline.search.searcher import Searcher
from sightline.search.words import MAX_QUERY_CHARACTERS

ODD_NAMES = [
    "it's.pdf",
    'say "no".pdf',
    "back\\slash.pdf",
    "') OR true --.pdf",
    "100%_{x}$1.pdf",
    "línea\nnueva.pdf",
]
TEXTS = {
    "accents.pdf": "Le résumé de la Größe: naïve façade, œuvre complète. Ærø",
    "ligature.pdf": "The ﬁnancial oﬃce reported proﬁts; ＦＵＬＬ width",
    "chinese.pdf": "資料集包含中文句子和圖表，用於訓練模型",
    "japanese.pdf": "日本語の文書検索システムについて",
    "thai.pdf": "การค้นหาเอกสารภาษาไทย",
    "russian.pdf": "Отчёт о прибылях и убытках компании",
    "arabic.pdf": "تقرير مالي عن الأرباح",
    "numbers.pdf": "Total 1,234.56 in Q3-2024, up 3.5% on the U.S. market",
    "operators.pdf": "AND OR NOT NEAR title: foo bar* wild~2 (brackets)",
    "stemming.pdf": "The turbines were running; companies reported batteries",
}
HOSTILE = [
    "", " ", "\n\t\r", '"', "'", "\\", "()", ")(", "(((((", "[", "{}", "*", "?", "~", "^",
    ":", "!", "--", "+++ --- !!",
    "AND", "OR", "NOT", "AND OR NOT", 'NOT (title:"a" OR', "text:*", "* TO *", "[a TO b]",
    "a^10 b~2", "/regex.*/",
    '"unclosed phrase', "-minus +plus", "'; DROP TABLE pages; --", "%00", "\x00", "a\x00b",
    "\ud800", "x\udfffy",
    "💥🔥", "\u200b\u2060", "\u202eright to left", "İstanbul ıI", "ß" * 50, "a" * 5_000,
    "word " * 20_000, "é" * 9_000,
    "${jndi:ldap://x}", "{{7*7}}", "<script>alert(1)</script>", "../../etc/passwd", "\uffff\ufffe", "𝕳𝖊𝖑𝖑𝖔",
]  # fmt: skip


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    path = tmp_path_factory.mktemp("searcher") / "index"
    build_index(path, make_pages(10, 12), WordsEncoder(), progress=False)
    return Searcher(path, WordsEncoder())


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    path = tmp_path_factory.mktemp("texts") / "index"
    pages = [PageRecord(f"{name}#p0", name, 0, text) for name, text in TEXTS.items()]
    pages += [PageRecord(f"{name}#p0", name, 0, "odd names") for name in ODD_NAMES]
    return Searcher(build_index(path, pages, WordsEncoder(), progress=False), WordsEncoder())


def names(results: object) -> list[str]:
    return [hit.document for hit in results]  # type: ignore[attr-defined]


def test_hybrid_is_the_fusion_of_the_other_two(searcher: Searcher) -> None:
    query = "battery storage audit of the reef"
    vector = searcher.search(query, mode="vector", top_k=100)
    text = searcher.search(query, mode="text", top_k=100)
    both = searcher.search(query, top_k=20)
    expected = reciprocal_rank_fusion([[hit.page_id for hit in vector], [hit.page_id for hit in text]])[:20]
    assert [(hit.page_id, hit.score) for hit in both] == expected
    assert [hit.rank for hit in both] == list(range(1, 21))
    for hit in both:
        assert hit.vector_rank == next((v.rank for v in vector if v.page_id == hit.page_id), None)
        assert hit.text_rank == next((t.rank for t in text if t.page_id == hit.page_id), None)
    assert {hit.text_rank is None for hit in vector} == {True}
    assert {hit.vector_rank is None for hit in text} == {True}


def test_weights_and_depth_of_the_fusion_take_effect(searcher: Searcher) -> None:
    query = "battery storage audit of the reef"
    by_text = searcher.search(query, mode="text", top_k=5)
    only_text = Searcher(searcher.index, WordsEncoder(), weights=(0.0, 1.0))
    assert [hit.page_id for hit in only_text.search(query, top_k=5)] == [hit.page_id for hit in by_text]
    shallow = Searcher(searcher.index, WordsEncoder(), depth=1).search(query, top_k=3)
    assert max(hit.vector_rank or 0 for hit in shallow) <= 3


def test_the_page_with_the_word_comes_first(searcher: Searcher) -> None:
    page = make_pages(10, 12)[77]
    reference = page.text.split()[-1].rstrip(".")
    hit = searcher.search(f"What is reference {reference}?", mode="text")[0]
    assert (hit.page_id, hit.document, hit.page) == (page.page_id, page.document, page.page)
    marked = [hit.snippet.text[start:end] for start, end in hit.snippet.highlights]
    assert marked == ["Reference", reference]


def test_timings_name_the_stages_that_ran(searcher: Searcher) -> None:
    stages = {"vector": {"encode", "vector"}, "text": {"text"}, "hybrid": {"encode", "vector", "text"}}
    for mode, own in stages.items():
        timings = searcher.search("solar", mode=mode).timings
        assert set(timings) == own | {"query", "fuse", "pages", "total"}
        assert all(seconds >= 0 for seconds in timings.values())
        assert sum(timings.values()) - timings["total"] <= timings["total"]


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_a_filter_limits_every_mode(searcher: Searcher, mode: str) -> None:
    # The rail pages are not among the best for this question, so a filter after the search would lose them.
    everywhere = searcher.search("solar wind report", mode=mode, top_k=12)
    assert not {"rail-3.pdf", "rail-8.pdf"} & set(names(everywhere))
    one = searcher.search("solar wind report", mode=mode, top_k=100, documents="rail-3.pdf")
    assert set(names(one)) == {"rail-3.pdf"}
    assert len(one) == 12
    two = searcher.search(
        "solar wind report", mode=mode, top_k=100, documents=iter(["rail-3.pdf", "rail-8.pdf"])
    )
    assert set(names(two)) == {"rail-3.pdf", "rail-8.pdf"}
    assert len(two) == 24
    assert len(searcher.search("solar wind report", mode=mode, documents=[])) == 0


def test_an_unknown_document_is_named(searcher: Searcher) -> None:
    with pytest.raises(SearchIndexError, match=r"no document 'rail-3\.pfd' .*did you mean 'rail-3\.pdf'"):
        searcher.search("solar", documents="rail-3.pfd")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_documents_of_any_name_can_be_filtered_by(texts: Searcher, name: str) -> None:
    for mode in ("vector", "text"):
        assert names(texts.search("odd names", mode=mode, documents=name)) == [name]


@pytest.mark.parametrize("query", HOSTILE)
def test_no_query_crashes_or_is_syntax(texts: Searcher, query: str) -> None:
    for mode in ("text", "hybrid", "vector"):
        results = texts.search(query, mode=mode, top_k=50)
        assert len({hit.page_id for hit in results}) == len(results)
    if not any(character.isalnum() for character in query):
        assert len(texts.search(query, mode="text")) == 0


def test_operators_are_words(texts: Searcher) -> None:
    assert names(texts.search("NOT", mode="text")) == ["operators.pdf"]
    assert "operators.pdf" in names(texts.search("profits -brackets NOT wild", mode="text"))
    assert names(texts.search("title:brackets", mode="text")) == ["operators.pdf"]
    assert set(names(texts.search('"turbines financial"', mode="text"))) == {"stemming.pdf", "ligature.pdf"}
    assert names(texts.search("turb*", mode="text")) == []


def test_an_empty_query_finds_nothing_and_punctuation_goes_by_vector(texts: Searcher) -> None:
    for mode in ("hybrid", "vector", "text"):
        assert len(texts.search("  ", mode=mode)) == 0
    assert len(texts.search("?!", mode="text")) == 0
    assert {hit.text_rank for hit in texts.search("?!", mode="hybrid")} == {None}


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("resume", "accents.pdf"),
        ("RÉSUMÉ", "accents.pdf"),
        ("grosse", "accents.pdf"),
        ("naive facade", "accents.pdf"),
        ("oeuvre", "accents.pdf"),
        ("Aero", "accents.pdf"),
        ("financial", "ligature.pdf"),
        ("office profit", "ligature.pdf"),
        ("full", "ligature.pdf"),
        ("圖表", "chinese.pdf"),
        ("中文", "chinese.pdf"),
        ("検索", "japanese.pdf"),
        ("เอกสาร", "thai.pdf"),
        ("отчет", "russian.pdf"),
        ("УБЫТКАХ", "russian.pdf"),
        ("الأرباح", "arabic.pdf"),
        ("1,234.56", "numbers.pdf"),
        ("q3", "numbers.pdf"),
        ("3.5%", "numbers.pdf"),
        ("run", "stemming.pdf"),
        ("company battery", "stemming.pdf"),
    ],
)
def test_words_are_found_however_they_are_written(texts: Searcher, query: str, document: str) -> None:
    results = texts.search(query, mode="text")
    assert names(results)[:1] == [document]
    assert results[0].snippet.highlights


def test_snippets_show_the_words_asked_for(tmp_path: Path) -> None:
    filler = "Nothing to see on this line of the page. " * 40
    text = f"{filler}\nThe   pressure\n gauge of pump B7 reads 40 bar. {filler}"
    pages = [PageRecord("m.pdf#p0", "m.pdf", 0, text), PageRecord("m.pdf#p1", "m.pdf", 1, "")]
    searcher = Searcher(
        build_index(tmp_path / "index", pages, WordsEncoder(), progress=False), WordsEncoder()
    )
    (hit,) = searcher.search("what does the gauge of the pumps read?", mode="text")
    piece = hit.snippet
    assert [piece.text[a:b] for a, b in piece.highlights] == ["gauge", "pump", "reads"]
    assert piece.text.startswith("… ")
    assert piece.text.endswith(" …")
    assert len(piece.text) <= 260
    assert "pressure gauge" in piece.text, "white space is folded"
    unrelated = searcher.search("zebra", mode="vector")[0].snippet
    assert unrelated.text.startswith("Nothing to see")
    assert unrelated.highlights == ()


def test_a_query_may_be_an_image(tmp_path: Path) -> None:
    from PIL import Image

    pages = []
    for number, colour in enumerate(["red", "green", "blue"]):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (8, 8), colour).save(path)
        pages.append(PageRecord(f"{colour}#p0", colour, number, "", path, 8, 8))
    searcher = Searcher(
        build_index(tmp_path / "index", pages, WordsEncoder(), progress=False), WordsEncoder()
    )
    for mode in ("vector", "hybrid"):
        results = searcher.search({"image": tmp_path / "green.png"}, mode=mode)
        assert results[0].document == "green"
        assert results[0].image == tmp_path / "green.png"
        assert len(results) == 3
    with pytest.raises(SearchIndexError, match="needs words"):
        searcher.search({"image": tmp_path / "green.png"}, mode="text")


def test_text_search_needs_no_model_and_the_others_say_so(searcher: Searcher) -> None:
    bare = Searcher(searcher.index.path)
    query = "coral and whale"
    assert bare.search(query, mode="text").scores == searcher.search(query, mode="text").scores
    for mode in ("hybrid", "vector"):
        with pytest.raises(SearchIndexError, match="needs the model"):
            bare.search(query, mode=mode)


def test_another_model_is_refused(searcher: Searcher) -> None:
    with pytest.raises(SearchIndexError, match="another model"):
        Searcher(searcher.index, WordsEncoder(seed=5))


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 2.5}, {"top_k": True}, {"mode": "magic"}])
def test_bad_requests_are_refused(searcher: Searcher, options: dict[str, object]) -> None:
    for target in (searcher, FakeSearcher({})):
        with pytest.raises(SearchIndexError, match=r"top_k|mode"):
            target.search("solar", **options)  # type: ignore[arg-type]


def test_long_queries_are_cut_where_the_limit_says(texts: Searcher) -> None:
    late = "z " * (MAX_QUERY_CHARACTERS // 2) + "turbines"
    assert names(texts.search(late, mode="text")) == []
    assert names(texts.search("z " * 2_000 + "turbines", mode="text")) == ["stemming.pdf"]


def test_runs_hold_every_query(searcher: Searcher) -> None:
    run = run_queries(searcher, {"q1": "solar", "q2": "zebra"}, top_k=7, mode="text")
    assert len(run["q1"]) == 7
    assert run["q2"] == {}
    assert json.loads(json.dumps(run)) == run


def test_the_fake_answers_from_its_table() -> None:
    fake: PageSearcher = FakeSearcher(
        {"q1": {"d7": 1.0, "a/b.pdf#p3": 2.0, "x#pest": 0.5}}, texts={"d7": "the answer to q1"}
    )
    results = fake.search("q1")
    assert [(hit.rank, hit.page_id, hit.document, hit.page) for hit in results] == [
        (1, "a/b.pdf#p3", "a/b.pdf", 3),
        (2, "d7", "d7", 0),
        (3, "x#pest", "x#pest", 0),
    ]
    assert results.scores == {"a/b.pdf#p3": 2.0, "d7": 1.0, "x#pest": 0.5}
    assert results[1].snippet.text == "the answer to q1"
    assert len(fake.search("q1", top_k=1)) == 1
    assert names(fake.search("q1", documents="d7")) == ["d7"]
    assert len(fake.search("unknown")) == 0
