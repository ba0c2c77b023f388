"""Builds cut off at any stage: the same call goes on, and ends like an uninterrupted one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.search.index import SearchIndex, build_index, open_index


class Stopping(WordsEncoder):
    """Is stopped when it has embedded so many pages."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def encode_document(self, inputs: Any, *, show_progress: bool | None = None) -> Any:
        if self.encoded >= self.at:
            raise KeyboardInterrupt
        return super().encode_document(inputs)


def contents(index: SearchIndex) -> list[dict[str, object]]:
    rows = index.table._table.to_arrow().sort_by("position")
    return rows.to_pylist()


def test_what_was_committed_is_not_embedded_again(tmp_path: Path) -> None:
    path, pages, how = tmp_path / "index", make_pages(6, 10), {"batch_size": 4, "progress": False}
    for at in (8, 28):
        with pytest.raises(KeyboardInterrupt):
            build_index(path, pages, Stopping(at), commit_seconds=0.0, **how)  # type: ignore[arg-type]
        with pytest.raises(SearchIndexError, match="not built to the end"):
            open_index(path)
    encoder, started = WordsEncoder(), []
    index = build_index(path, pages, encoder, batch_size=4, progress=lambda done, _: started.append(done))
    assert (started[0], encoder.encoded) == (36, 24)
    whole = build_index(tmp_path / "whole", pages, WordsEncoder(), progress=False)
    assert contents(index) == contents(whole)
    query = WordsEncoder().encode_query(["storage of the harbour"]).numpy()[0]
    assert [(m.page_id, m.score) for m in index.nearest(query, 60)] == [
        (m.page_id, m.score) for m in whole.nearest(query, 60)
    ]
    for text in ("reef harbour report", "reference 305x", "page 3"):
        assert [(m.page_id, m.score) for m in index.matching(text, 60)] == [
            (m.page_id, m.score) for m in whole.matching(text, 60)
        ]


def test_the_version_before_opens_while_its_successor_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_index(path, make_pages(2, 3), WordsEncoder(), progress=False)
    with pytest.raises(KeyboardInterrupt):
        build_index(path, make_pages(6, 10), Stopping(20), batch_size=4, commit_seconds=0.0, progress=False)
    index = open_index(path, WordsEncoder())
    assert len(index) == 6
    assert len(index.matching("report", 10)) == 6
    # Another build than the unfinished one clears it away.
    assert len(build_index(path, make_pages(3, 3), WordsEncoder(), progress=False)) == 9
    assert len(list((path / "versions").iterdir())) == 2


def test_every_stage_a_kill_can_leave_behind_is_mended(tmp_path: Path) -> None:
    """Leftovers that a kill at the right microsecond leaves, made by hand from a finished build."""
    path, pages = tmp_path / "index", make_pages(2, 5)
    expected = contents(build_index(path, pages, WordsEncoder(), progress=False))
    (version,) = (path / "versions").iterdir()

    (path / "index.json").unlink()  # finished, not published
    encoder = WordsEncoder()
    assert contents(build_index(path, pages, encoder, progress=False)) == expected
    assert encoder.encoded == 0

    (path / "index.json").unlink()
    (version / "facts.json").unlink()  # rows and full text done, facts not written
    (version / "facts.json.77.tmp").write_text('{"version": ')
    assert contents(build_index(path, pages, encoder, progress=False)) == expected
    assert encoder.encoded == 0

    (path / "index.json").unlink()
    (version / "facts.json").unlink()
    shutil.rmtree(version / "pages.lance" / "_versions")  # killed while the table was made
    assert contents(build_index(path, pages, encoder, progress=False)) == expected
    assert encoder.encoded == len(pages)

    (path / "index.json").unlink()
    shutil.rmtree(version)
    version.mkdir()  # killed before the table was made
    assert contents(build_index(path, pages, WordsEncoder(), progress=False)) == expected
