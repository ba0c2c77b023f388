"""An index on object storage: built, changed, switched and searched as on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.search.folders import LocalFolder, ObjectFolder, folder_at
from sightline.search.index import SearchIndex, build_index, open_index, update_index
from sightline.search.versions import list_versions, open_version, prune_versions, use_version
from support.s3 import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("indexes") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield "s3://indexes"


def found(index: SearchIndex) -> list[Any]:
    query = WordsEncoder().encode_query(["harbour reef storage report"]).numpy()[0]
    hits = [*index.nearest(query, 50), *index.matching("harbour reef storage report", 50)]
    return [(match.page_id, match.score) for match in hits]


def test_the_life_of_an_index(bucket: str, tmp_path: Path) -> None:
    path, encoder = f"{bucket}/reports/index", WordsEncoder()
    with pytest.raises(SearchIndexError, match=r"s3://indexes/reports/index is no search index"):
        open_index(path)
    assert open_version(path) is None
    first = build_index(path, make_pages(3), encoder, model="a", progress=False)
    assert first.path == path
    second = build_index(path, make_pages(4), encoder, model="a", progress=False)
    assert str(second.changes) == "6 pages embedded, 0 removed, 18 kept"
    local = build_index(tmp_path / "index", make_pages(4), encoder, model="a", progress=False)
    assert second.facts.version == local.facts.version
    assert found(open_index(path, encoder)) == found(local)
    stored = open_index(path).page("health-1.pdf#p4")
    assert stored == local.page("health-1.pdf#p4")

    assert [(one.is_open, one.is_previous) for one in list_versions(path)] == [(True, False), (False, True)]
    assert all(one.size > 0 for one in list_versions(path))
    assert use_version(path, "previous") == first.facts.version
    assert found(open_index(path)) == found(first)
    less = update_index(path, delete=["energy-0.pdf"], progress=False)
    assert less.document_pages == {"health-1.pdf": 6, "finance-2.pdf": 6}
    assert prune_versions(path, 1) == [first.facts.version]
    assert [one.version for one in list_versions(path)] == [open_version(path)] == [less.facts.version]
    with pytest.raises(SearchIndexError, match="another model"):
        open_index(path, WordsEncoder(seed=3))


def test_an_unfinished_build_goes_on(bucket: str) -> None:
    class Stopping(WordsEncoder):
        def encode_document(self, inputs: Any, *, show_progress: bool | None = None) -> Any:
            if self.encoded >= 8:
                raise KeyboardInterrupt
            return super().encode_document(inputs)

    path, pages = f"{bucket}/unfinished", make_pages(4)
    with pytest.raises(KeyboardInterrupt):
        build_index(path, pages, Stopping(), batch_size=4, commit_seconds=0.0, progress=False)
    with pytest.raises(SearchIndexError, match="not built to the end"):
        open_index(path)
    encoder = WordsEncoder()
    assert len(build_index(path, pages, encoder, progress=False)) == 24
    assert encoder.encoded == 16


def test_what_is_no_index_is_left_alone(bucket: str) -> None:
    folder = folder_at(f"{bucket}/thesis")
    folder.write("chapter.txt", "years of work")
    with pytest.raises(SearchIndexError, match="holds files that are no index"):
        build_index(folder.uri, make_pages(1), WordsEncoder(), progress=False)
    assert folder.names() == ["chapter.txt"]


def test_a_bucket_that_is_not_there_is_one_sentence(bucket: str) -> None:
    for call in (open_index, list_versions, lambda path: build_index(path, make_pages(1), WordsEncoder())):
        with pytest.raises(SearchIndexError, match=r"s3://nothing/index.*") as error:
            call("s3://nothing/index")
        assert "\n" not in str(error.value)


def test_names_of_places(tmp_path: Path) -> None:
    assert isinstance(folder_at("s3://bucket/index/"), ObjectFolder)
    assert folder_at("s3://bucket/index/").uri == "s3://bucket/index"
    for local in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        folder = folder_at(local)
        assert isinstance(folder, LocalFolder)
        assert folder.path == tmp_path
    for wrong in ("http://host/index", "s3://", "memory://x"):
        with pytest.raises(SearchIndexError, match="an index lies in a folder, or at one of s3://"):
            folder_at(wrong)
