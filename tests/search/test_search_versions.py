"""Versions: what is listed, opened, rolled back, kept beside and cleared away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.search.folders import folder_at
from sightline.search.index import build_index, open_index
from sightline.search.versions import building, list_versions, open_version, prune_versions, use_version


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two versions of a model, the second open, and one of another model beside."""
    path = tmp_path_factory.mktemp("versions") / "index"
    build_index(path, make_pages(2), WordsEncoder(), model="words-1", progress=False)
    build_index(path, make_pages(3), WordsEncoder(), model="words-1", progress=False)
    build_index(path, make_pages(3), WordsEncoder(seed=5), model="words-2", switch=False, progress=False)
    return path


@pytest.fixture
def index(three: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three, tmp_path / "index"))


def test_two_models_side_by_side(index: Path) -> None:
    found = {one.facts.model + str(one.facts.pages): one for one in list_versions(index) if one.facts}
    assert sorted(found) == ["words-112", "words-118", "words-218"]
    assert found["words-118"].is_open
    assert found["words-112"].is_previous
    beside = found["words-218"]
    assert (beside.is_open, beside.is_previous) == (False, False)
    assert all(one.size > 0 and not one.problem for one in found.values())
    assert open_index(index).facts.model == "words-1"
    other = open_index(index, WordsEncoder(seed=5), version=beside.version[:8])
    assert other.facts.version == beside.version
    assert len(other.matching("report", 100)) == 18
    with pytest.raises(SearchIndexError, match="another model"):
        open_index(index, WordsEncoder(), version=beside.version)


def test_switch_and_roll_back_are_one_step_and_delete_nothing(index: Path) -> None:
    first = open_version(index)
    beside = next(one.version for one in list_versions(index) if not one.is_open and not one.is_previous)
    searching = open_index(index)
    assert use_version(index, beside[:6]) == beside
    assert open_version(index) == open_index(index).facts.version == beside
    assert len(searching.matching("report", 100)) == 18, "what searches goes on"
    assert use_version(index, "previous") == first
    assert use_version(index, str(first)) == first, "opening what is open changes nothing"
    assert open_index(index, version="previous").facts.version == beside
    assert len(list_versions(index)) == 3


def test_a_build_keeps_what_stands_beside_and_clears_away_the_rest(index: Path) -> None:
    oldest = next(one.version for one in list_versions(index) if one.is_previous)
    build_index(index, make_pages(4), WordsEncoder(), progress=False)
    kept = [one.version for one in list_versions(index)]
    assert len(kept) == 3
    assert oldest not in kept
    assert {one.facts.model for one in list_versions(index) if one.facts} >= {"words-1", "words-2"}


def test_pruning_keeps_the_open_version_and_the_newest(index: Path) -> None:
    before, opened = [one.version for one in list_versions(index)], open_version(index)
    (index / "versions" / "unfinished").mkdir()
    with building(folder_at(index)), pytest.raises(SearchIndexError, match="another build"):
        prune_versions(index, 1)
    deleted = prune_versions(index, 1)
    assert sorted([*deleted, opened]) == sorted(before)
    assert [one.version for one in list_versions(index)] == [opened]
    assert [entry.name for entry in (index / "versions").iterdir()] == [opened]
    assert json.loads((index / "index.json").read_text()) == {
        "format": 3, "version": opened, "previous": "", "beside": [],
    }  # fmt: skip
    assert prune_versions(index, 3) == []
    with pytest.raises(SearchIndexError, match="no version before"):
        use_version(index, "previous")
    with pytest.raises(SearchIndexError, match="at least one"):
        prune_versions(index, 0)


def test_the_first_version_is_opened_even_without_a_switch(tmp_path: Path) -> None:
    built = build_index(tmp_path / "index", make_pages(1), WordsEncoder(), switch=False, progress=False)
    assert open_version(tmp_path / "index") == built.facts.version


def test_a_version_that_cannot_be_opened_is_named_and_not_opened(index: Path) -> None:
    opened = open_version(index)
    for name in ("", "zz", "../../etc"):
        with pytest.raises(SearchIndexError, match=f"no finished version begins with '{name}'; there are"):
            use_version(index, name)
    broken = next(one.version for one in list_versions(index) if one.is_previous)
    facts = index / "versions" / broken / "facts.json"
    text = facts.read_text()
    facts.write_text("{")
    listed = next(one for one in list_versions(index) if one.version == broken)
    assert listed.facts is None
    assert "damaged" in listed.problem
    with pytest.raises(SearchIndexError, match="damaged"):
        use_version(index, broken)
    facts.write_text(text)
    shutil.rmtree(index / "versions" / broken / "pages.lance")
    with pytest.raises(SearchIndexError, match=r"has no pages\.lance"):
        use_version(index, broken)
    assert open_version(index) == opened
    for path in (index / "versions", index / "nothing"):
        with pytest.raises(SearchIndexError, match="is no search index"):
            list_versions(path)
