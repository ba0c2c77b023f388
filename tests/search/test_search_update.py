"""Changes to an index: only what is new goes through the model, and the result is that of a build from nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import DataError, SearchIndexError
from sightline.search import build as building
from sightline.search.index import SearchIndex, build_index, update_index
from sightline.search.pages import PageRecord


def contents(index: SearchIndex) -> list[dict[str, Any]]:
    """Every row with its vectors."""
    return index.table._table.to_arrow().sort_by("position").to_pylist()


def answers(index: SearchIndex) -> list[Any]:
    query = WordsEncoder().encode_query(["harbour reef storage report"]).numpy()[0]
    found = [*index.nearest(query, 100), *index.matching("harbour reef storage report", 100)]
    return [(match.page_id, match.score) for match in found]


def changes(index: SearchIndex) -> tuple[int, int, int]:
    assert index.changes is not None
    return index.changes.embedded, index.changes.kept, index.changes.removed


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_only_new_and_changed_pages_are_embedded(tmp_path: Path, batch: int) -> None:
    pages, encoder = make_pages(4), WordsEncoder()
    build_index(tmp_path / "index", pages, encoder, progress=False)
    changed = [
        *make_pages(5)[-6:],  # a new document before all others
        replace(pages[0], text="whale and plankton"),
        PageRecord("scan#p0", "scan", 0),
        *pages[8:],
        replace(pages[1], page_id="moved#p0", document="moved", page=0),  # the same page by another name
    ]
    encoder.encoded = 0
    index = build_index(tmp_path / "index", changed, encoder, batch_size=batch, progress=False)
    assert encoder.encoded == 7
    assert changes(index) == (7, 18, 7)
    assert index.changes is not None
    assert str(index.changes) == "7 pages embedded, 7 removed, 18 kept"
    fresh = build_index(tmp_path / "fresh", changed, WordsEncoder(), progress=False)
    assert changes(fresh) == (24, 1, 0)
    assert index.facts.version == fresh.facts.version
    assert index.facts.pages_without_vector == fresh.facts.pages_without_vector == 1
    assert contents(index) == contents(fresh)
    assert answers(index) == answers(fresh)

    again = build_index(tmp_path / "index", changed, encoder, progress=False)
    assert (encoder.encoded, changes(again)) == (7, (0, 25, 0))


def test_what_the_model_does_not_see_changes_nothing_for_it(tmp_path: Path) -> None:
    pages, encoder = make_pages(2), WordsEncoder()
    build_index(tmp_path / "index", pages, encoder, progress=False)
    described = [replace(page, language="en", metadata={"year": 2023}) for page in pages]
    index = build_index(tmp_path / "index", described, encoder, progress=False)
    assert changes(index) == (0, 12, 0)
    assert index.languages == ("en",)


def test_another_model_or_setting_embeds_everything(tmp_path: Path) -> None:
    pages = make_pages(2)
    build_index(tmp_path / "index", pages, WordsEncoder(), progress=False)
    for encoder, options in (
        (WordsEncoder(seed=4), {}),
        (WordsEncoder(), {"dim": 8}),
        (WordsEncoder(), {"similarity": "dot"}),
    ):
        index = build_index(tmp_path / "index", pages, encoder, progress=False, **options)  # type: ignore[arg-type]
        assert (encoder.encoded, changes(index)) == (12, (12, 0, 0))


def test_a_page_whose_image_changes_is_embedded_again(tmp_path: Path) -> None:
    pages = []
    for number in range(3):
        image = tmp_path / f"{number}.png"
        image.write_bytes(b"image %d" % number)
        pages.append(PageRecord(f"a#p{number}", "a", number, "words", image, 10, 10))
    encoder = WordsEncoder()
    build_index(tmp_path / "index", pages, encoder, progress=False)
    (tmp_path / "1.png").write_bytes(b"other 1")
    os.utime(tmp_path / "1.png", (1, 1))
    index = build_index(tmp_path / "index", pages, encoder, progress=False)
    assert changes(index) == (1, 2, 0)
    vector = encoder.encode_query([{"text": "words", "image": tmp_path / "1.png"}]).numpy()[0]
    assert index.nearest(vector, 1)[0].page_id == "a#p1"


def test_documents_are_added_replaced_and_deleted(tmp_path: Path) -> None:
    path, encoder, pages = tmp_path / "index", WordsEncoder(), make_pages(4)
    build_index(path, pages, encoder, model="words-1", progress=False)
    encoder.encoded = 0
    shorter = [replace(page, text=page.text + " more") for page in pages[6:9]]
    added = [PageRecord("new#p0", "new", 0, "a coral in the harbour", metadata={"year": 2024})]
    index = update_index(path, encoder, add=[*added, *shorter], delete=["energy-0.pdf"], progress=False)
    assert encoder.encoded == 4
    assert changes(index) == (4, 12, 9)
    assert index.document_pages == {"health-1.pdf": 3, "finance-2.pdf": 6, "rail-3.pdf": 6, "new": 1}
    assert index.facts.model == "words-1"
    expected = [*shorter, *pages[12:], *added]
    whole = build_index(tmp_path / "whole", expected, WordsEncoder(), model="words-1", progress=False)
    assert index.facts.version == whole.facts.version
    assert contents(index) == contents(whole)

    index = update_index(path, delete=["new", "rail-3.pdf"], progress=False)
    assert changes(index) == (0, 9, 7)
    assert (encoder.encoded, len(index)) == (4, 9)
    with pytest.raises(SearchIndexError, match=r"no document 'finance-3.pdf' .*'finance-2.pdf'"):
        update_index(path, delete=["finance-3.pdf"])
    with pytest.raises(DataError, match="no page would be left"):
        update_index(path, delete=index.documents)
    with pytest.raises(SearchIndexError, match="give the model"):
        update_index(path, add=added)
    with pytest.raises(SearchIndexError, match="another model"):
        update_index(path, WordsEncoder(seed=9), add=added)
    with pytest.raises(DataError, match=r"'finance-2\.pdf#p0' is there already, in 'finance-2\.pdf'"):
        update_index(path, encoder, add=[replace(pages[12], document="copy")])


def test_deleting_needs_no_images(tmp_path: Path) -> None:
    image = tmp_path / "media" / "0.png"
    image.parent.mkdir()
    image.write_bytes(b"image")
    pages = [PageRecord("a#p0", "a", 0, "", image, 10, 10), *make_pages(1)]
    path, encoder = tmp_path / "index", WordsEncoder()
    build_index(path, pages, encoder, media_root=image.parent, progress=False)
    image.unlink()
    index = update_index(path, delete=["energy-0.pdf"], progress=False)
    stored = index.page("a#p0")
    assert stored is not None
    assert (stored.image, index.image_of(stored)) == ("0.png", image)
    assert index.nearest(np.ones(24, np.float32), 5)[0].page_id == "a#p0"


def test_an_unfinished_build_of_other_pages_is_copied_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(WordsEncoder):
        def encode_document(self, inputs: Any, *, show_progress: bool | None = None) -> Any:
            if self.encoded >= 12:
                raise KeyboardInterrupt
            return super().encode_document(inputs)

    monkeypatch.setattr(building, "COMMIT_PAGES", 4)
    path, pages = tmp_path / "index", make_pages(4)
    with pytest.raises(KeyboardInterrupt):
        build_index(path, pages, Breaking(), batch_size=4, progress=False)
    encoder = WordsEncoder()
    index = build_index(path, pages[1:], encoder, progress=False)
    assert (encoder.encoded, changes(index)) == (12, (12, 11, 0))
    fresh = build_index(tmp_path / "fresh", pages[1:], WordsEncoder(), progress=False)
    assert contents(index) == contents(fresh)


def test_a_damaged_version_is_not_copied_from(tmp_path: Path) -> None:
    path, encoder = tmp_path / "index", WordsEncoder()
    build_index(path, make_pages(2), encoder, progress=False)
    for file in path.glob("versions/*/pages.lance/_versions/*"):
        file.write_bytes(b"garbage")
    index = build_index(path, make_pages(3), encoder, progress=False)
    assert (encoder.encoded, changes(index)) == (30, (18, 0, 0))
