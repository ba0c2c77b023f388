"""A service over an index on object storage."""

from __future__ import annotations

import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.search.index import build_index
from sightline.search.versions import use_version
from sightline.serving.loading import IndexSource
from sightline.serving.settings import Settings
from support.s3 import s3_server


def test_versions_are_found_where_the_index_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("indexes") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        path, encoder = "s3://indexes/served", WordsEncoder()
        first, second = (build_index(path, make_pages(n), encoder, progress=False) for n in (2, 3))
        source = IndexSource(path, Settings())
        assert source.open_version() == second.facts.version
        assert sorted(source.versions()) == sorted([first.facts.version, second.facts.version])
        assert source.open(first.facts.version).facts.pages == first.facts.pages
        use_version(path, "previous")
        assert source.open_version() == first.facts.version
