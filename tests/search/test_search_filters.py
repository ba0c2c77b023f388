"""Filters: which pages may be found, and what an index knows of its pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
from sightline.errors import DataError, SearchIndexError
from sightline.search.filters import Filter
from sightline.search.index import SearchIndex, build_index
from sightline.search.pages import PageRecord

ODD = 'O\'Hara "x" \\ % _ ) OR 1=1 --'
METADATA: list[dict[str, Any]] = [
    {"year": 2023, "client": ODD, "open": True},
    {"year": 2023.0, "tags": ["a", "b"], "open": False},
    {"year": "2023", "tags": ["b"], "note": None},
    {"year": 2024, "size": {"w": 1, "h": 2}},
    {},
]


def described() -> list[PageRecord]:
    """Five documents of six pages: languages and kinds alternate, each document has its metadata."""
    names = list(dict.fromkeys(page.document for page in make_pages()))
    found = []
    for page in make_pages():
        number = names.index(page.document)
        kind = ("pdf", "office", "image")[number % 3]
        language = ("en", "de", "")[page.page % 3]
        found.append(replace(page, language=language, kind=kind, metadata=METADATA[number]))
    return found


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    return build_index(tmp_path_factory.mktemp("f") / "index", described(), WordsEncoder(), progress=False)


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        (Filter(), lambda page: True),
        (Filter(documents=["rail-3.pdf"]), lambda page: page.document == "rail-3.pdf"),
        (Filter(languages=("de", "en")), lambda page: page.language in ("de", "en")),
        (Filter(languages=("",)), lambda page: page.language == ""),
        (Filter(kinds=("office",)), lambda page: page.kind == "office"),
        (
            Filter(documents=("health-1.pdf", "rail-3.pdf"), languages=("de",), kinds=("pdf",)),
            lambda page: page.document == "rail-3.pdf" and page.language == "de",
        ),
        (Filter(metadata={"year": 2023}), lambda page: page.metadata.get("year") == 2023),
        (Filter(metadata={"year": "2023"}), lambda page: page.metadata.get("year") == "2023"),
        (
            Filter(metadata={"year": [2024, "2023"]}),
            lambda page: page.metadata.get("year") in ("2023", 2024),
        ),
        (Filter(metadata={"tags": "b"}), lambda page: "b" in page.metadata.get("tags", [])),
        (
            Filter(metadata={"tags": "b", "year": 2023}),
            lambda page: page.metadata.get("tags") == ["a", "b"],
        ),
        (Filter(metadata={"open": True}), lambda page: page.metadata.get("open") is True),
        (Filter(metadata={"open": 1}), lambda page: False),
        (Filter(metadata={"note": None}), lambda page: "note" in page.metadata),
        (Filter(metadata={"size": {"h": 2, "w": 1}}), lambda page: "size" in page.metadata),
        (Filter(metadata={"client": ODD}), lambda page: page.metadata.get("client") == ODD),
        (Filter(metadata={"year": []}), lambda page: False),
    ],
)
def test_both_rankings_find_what_meets_every_condition(index: SearchIndex, where: Filter, meets: Any) -> None:
    expected = {page.page_id for page in described() if meets(page)}
    assert {match.page_id for match in index.nearest(np.ones(24, np.float32), 100, where)} == expected
    assert {match.page_id for match in index.matching("report", 100, where)} == expected


def test_an_index_knows_what_is_in_it(index: SearchIndex) -> None:
    pages = described()
    assert index.documents == tuple(dict.fromkeys(page.document for page in pages))
    assert index.document_pages == dict.fromkeys(index.documents, 6)
    assert index.languages == ("de", "en")
    assert index.kinds == ("image", "office", "pdf")
    assert index.metadata_names == ("client", "note", "open", "size", "tags", "year")
    stored = index.page("health-1.pdf#p4")
    assert stored is not None
    assert (stored.page, stored.language, stored.kind) == (4, "de", "office")
    assert stored.metadata == METADATA[1]
    assert [page.page for page in index.pages_of("health-1.pdf")] == list(range(6))
    assert index.pages_of("nothing.pdf") == []
    assert index.page("it's not there") is None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (Filter(documents=("rail-3.pfd",)), r"no document 'rail-3.pfd' .* did you mean 'rail-3.pdf'"),
        (Filter(languages=("fr",)), r"no page in language 'fr'"),
        (Filter(kinds=("pfd",)), r"no page of kind 'pfd' .*'pdf'"),
        (Filter(metadata={"yaer": 2023}), r"no metadata 'yaer' .*'year'"),
    ],
)
def test_a_slip_of_the_pen_is_not_nothing_found(index: SearchIndex, where: Filter, message: str) -> None:
    with pytest.raises(SearchIndexError, match=message):
        index.check_filter(where)


def test_conditions_of_the_wrong_type_are_refused() -> None:
    for wrong in ({"documents": "a.pdf"}, {"kinds": [1]}, {"metadata": ["a"]}, {"metadata": {"a": {1, 2}}}):
        with pytest.raises(SearchIndexError, match="filter must"):
            Filter(**wrong)  # type: ignore[arg-type]


def test_a_filter_with_indexes_of_its_own_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.search.table._INDEXED_PAGES", 1)
    index = build_index(tmp_path / "index", described(), WordsEncoder(), progress=False)
    for where, count in (
        (Filter(documents=("rail-3.pdf",), languages=("de",)), 2),
        (Filter(metadata={"year": 2023}), 12),
        (Filter(metadata={"client": ODD}, kinds=("pdf",)), 6),
    ):
        assert len(index.nearest(np.ones(24, np.float32), 100, where)) == count
        assert len(index.matching("report", 100, where)) == count
    assert index.page("health-1.pdf#p4") is not None


def test_metadata_goes_from_the_file_into_the_index(tmp_path: Path) -> None:
    documents = tmp_path / "in"
    (documents / "old").mkdir(parents=True)
    (documents / "a.txt").write_text("The harbour and its reef.")
    (documents / "old" / "b.txt").write_text("The turbine and its grid.")
    file = tmp_path / "metadata.jsonl"
    file.write_text('{"document": "b.txt", "client": "Ævar", "year": 2023}\n')
    settings = IngestSettings(pixels=60_000, ocr="none")
    ingest(documents, tmp_path / "data", metadata=file, settings=settings, workers=1, progress=False)
    dataset = Dataset.load(tmp_path / "data")
    assert {item.document: item.metadata for item in dataset.documents} == {
        "a.txt": {},
        "old/b.txt": {"client": "Ævar", "year": 2023},
    }
    index = build_index(tmp_path / "index", dataset, WordsEncoder(), progress=False)
    (found,) = index.nearest(np.ones(24, np.float32), 9, Filter(kinds=("text",), metadata={"client": "Ævar"}))
    assert found.page_id == "old/b.txt#p0"

    # The same again without the file: what it said is gone, and no page is made again.
    report = ingest(documents, tmp_path / "data", settings=settings, workers=1, progress=False)
    assert report.reused == 2
    assert all(not item.metadata for item in Dataset.load(tmp_path / "data").documents)


def test_a_wrong_metadata_file_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("text")
    lines = [
        json.dumps({"document": "a.txt", "year": 1}),
        "[]",
        '{"year": 1}',
        '{"document": "c.txt"}',
        '{"document": "a.txt"}',
        '{"document": "a.txt", "year": NaN}',
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError) as error:
        ingest(tmp_path / "in", tmp_path / "out", metadata=tmp_path / "m.jsonl", progress=False)
    said = str(error.value).split("\n")
    assert [line.split(": ")[0] for line in said] == [f"m.jsonl:{number}" for number in range(2, 7)]
    assert "already" in said[3]
    assert not (tmp_path / "out").exists()
