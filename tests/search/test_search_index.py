"""The index on disk: what is in it, what is refused, what replaces what."""

from __future__ import annotations

import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search.words_encoder import WordsEncoder, make_pages
from sightline.documents.dataset import Dataset
from sightline.documents.records import Document, Page
from sightline.errors import DataError, SearchIndexError
from sightline.models.fingerprint import fingerprint
from sightline.search.folders import folder_at
from sightline.search.index import build_index, open_index
from sightline.search.pages import PageRecord
from sightline.search.versions import building


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index"
    build_index(path, make_pages(), WordsEncoder(), model="words-1", progress=False)
    return path


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dim", [None, 9])
def test_order_and_scores_equal_brute_force(tmp_path: Path, similarity: str, dim: int | None) -> None:
    encoder = WordsEncoder(similarity=similarity)
    pages = make_pages(8, 20)
    index = build_index(tmp_path / "index", pages, encoder, dim=dim, progress=False)

    vectors = encoder.encode_document([{"text": page.text} for page in pages]).numpy()
    query = encoder.encode_query(["battery storage of the hospital"]).numpy()[0]
    if similarity == "cosine":
        cut = vectors[:, :dim] / np.linalg.norm(vectors[:, :dim], axis=1, keepdims=True)
        scores = cut @ (query[:dim] / np.linalg.norm(query[:dim]))
    else:
        cut, short = vectors[:, :dim], query[:dim]
        scores = cut @ short if similarity == "dot" else -np.linalg.norm(cut - short, axis=1)

    found = index.nearest(query, len(pages))
    order = np.argsort(-scores, kind="stable")
    assert [match.page_id for match in found] == [pages[row].page_id for row in order]
    np.testing.assert_allclose([match.score for match in found], scores[order], rtol=1e-4, atol=1e-4)
    assert index.facts.dim == (dim or 24)
    assert index.facts.model_dim == 24


def test_facts_say_what_was_built(built: Path) -> None:
    index = open_index(built, WordsEncoder())
    facts = index.facts
    assert (facts.pages, facts.documents, facts.fields, facts.similarity) == (30, 5, "both", "cosine")
    assert (facts.model, facts.dim, facts.pages_without_vector) == ("words-1", 24, 0)
    assert facts.fingerprint == fingerprint(WordsEncoder())
    assert len(index) == 30
    assert index.documents == tuple(dict.fromkeys(page.document for page in make_pages()))


def test_stored_page_comes_back_whole(built: Path) -> None:
    index = open_index(built)
    page = make_pages()[7]
    (match,) = index.matching(page.text.split()[-1], 1)
    assert match.page_id == page.page_id
    (stored,) = index.pages([match])
    assert (stored.document, stored.page, stored.text) == (page.document, page.page, page.text)
    assert index.image_of(stored) is None


def test_another_model_is_refused_in_one_sentence(built: Path) -> None:
    with pytest.raises(
        SearchIndexError, match=r"built with another model \(words-1 .*build the index again"
    ) as error:
        open_index(built, WordsEncoder(seed=1))
    assert "\n" not in str(error.value)


def test_fingerprint_follows_the_weights_not_how_they_are_held() -> None:
    one = fingerprint(WordsEncoder())
    assert fingerprint(WordsEncoder()) == one
    assert fingerprint(WordsEncoder().to(torch.bfloat16)) == one
    changed = WordsEncoder()
    changed.projection[3, 5] += 0.5
    assert fingerprint(changed) != one
    swapped = WordsEncoder()
    swapped.projection.copy_(swapped.projection.flip(0))
    assert fingerprint(swapped) != one


def test_fingerprint_sees_one_weight_in_many() -> None:
    module = torch.nn.Module()
    module.register_parameter("weight", torch.nn.Parameter(torch.randn(1001, 1003), requires_grad=False))
    module.register_buffer("steps", torch.tensor(7))
    before = fingerprint(module)
    module.weight[777, 333] += 1.0
    after = fingerprint(module)
    module.steps += 1
    assert len({before, after, fingerprint(module)}) == 3


def test_building_again_costs_nothing_and_moves_nothing(built: Path) -> None:
    encoder = WordsEncoder()
    before = (built / "index.json").read_text()
    build_index(built, make_pages(), encoder, model="words-1", progress=False)
    assert encoder.encoded == 0
    assert (built / "index.json").read_text() == before


def test_new_pages_replace_old_ones_and_the_version_before_is_kept(tmp_path: Path) -> None:
    path, encoder = tmp_path / "index", WordsEncoder()
    first = build_index(path, make_pages(2), encoder, progress=False)
    second = build_index(path, make_pages(3), encoder, progress=False)
    assert len(first.matching("report", 100)) == 12, "an index that is open goes on working"
    assert len(second) == len(open_index(path)) == 18
    assert len(list((path / "versions").iterdir())) == 2
    build_index(path, make_pages(4), encoder, progress=False)
    assert len(list((path / "versions").iterdir())) == 2

    encoded = encoder.encoded
    assert len(build_index(path, make_pages(3), encoder, progress=False)) == 18
    assert encoder.encoded == encoded, "switching back to the version before embeds nothing"


def test_what_changes_the_vectors_makes_a_new_version(tmp_path: Path) -> None:
    path, pages = tmp_path / "index", make_pages(2)
    versions = {
        build_index(path, pages, WordsEncoder(), progress=False).facts.version,
        build_index(path, pages, WordsEncoder(), dim=8, progress=False).facts.version,
        build_index(path, pages, WordsEncoder(), fields="text", progress=False).facts.version,
        build_index(path, pages, WordsEncoder(), similarity="dot", progress=False).facts.version,
        build_index(path, pages, WordsEncoder(seed=3), progress=False).facts.version,
        build_index(path, pages[::-1], WordsEncoder(), progress=False).facts.version,
        build_index(
            path, [replace(pages[0], text="else"), *pages[1:]], WordsEncoder(), progress=False
        ).facts.version,
    }
    assert len(versions) == 7


def test_images_are_stored_relative_and_follow_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pages = []
    for number in range(3):
        image = data / f"{number}.png"
        image.write_bytes(b"image %d" % number)
        page = PageRecord(f"a#p{number}", "a", number, "", image, 10, 20, content_hash=str(number))
        pages.append(page)
    encoder = WordsEncoder()
    index = build_index(tmp_path / "index", pages, encoder, media_root=data, progress=False)
    assert index.facts.fields == "both"
    query = encoder.encode_query([{"image": data / "1.png"}]).numpy()[0]
    best = index.nearest(query, 1)
    assert best[0].page_id == "a#p1"
    assert index.image_of(index.pages(best)[0]) == data / "1.png"

    moved = tmp_path / "elsewhere"
    shutil.move(data, moved)
    assert open_index(tmp_path / "index", media_root=moved).image_of(index.pages(best)[0]) == moved / "1.png"
    encoded = encoder.encoded
    pages = [replace(page, image=moved / page.image.name) for page in pages if page.image]
    index = build_index(tmp_path / "index", pages, encoder, media_root=moved, progress=False)
    assert encoder.encoded == encoded, "a folder that moved is not embedded again"
    assert index.facts.media_root == str(moved)


def test_pages_with_nothing_to_embed_are_kept_without_vector(tmp_path: Path) -> None:
    pages = [*make_pages(1, 3), PageRecord("scan#p0", "scan", 0, " \n"), PageRecord("scan#p1", "scan", 1)]
    index = build_index(tmp_path / "index", pages, WordsEncoder(), fields="text", progress=False)
    assert (len(index), index.facts.pages_without_vector) == (5, 2)
    found = index.nearest(np.ones(24, np.float32), 10)
    assert {match.page_id for match in found} == {page.page_id for page in pages[:3]}
    only = build_index(tmp_path / "only", pages[3:], WordsEncoder(), fields="text", progress=False)
    assert only.nearest(np.ones(24, np.float32), 10) == []
    assert only.matching("anything", 10) == []


def test_text_that_names_a_file_is_embedded_as_text(tmp_path: Path) -> None:
    image = tmp_path / "chart.png"
    image.write_bytes(b"pixels")
    seen = []

    class Watching(WordsEncoder):
        def encode_document(self, inputs, *, show_progress=None):  # type: ignore[no-untyped-def]
            seen.extend(inputs)
            return super().encode_document(inputs)

    build_index(tmp_path / "index", [PageRecord("a#p0", "a", 0, str(image))], Watching(), progress=False)
    assert seen == [{"text": str(image)}]


@pytest.mark.parametrize(
    ("fields", "modalities", "expected"),
    [
        (None, ("text",), "text"),
        (None, ("image",), "image"),
        (None, ("text", "image"), "both"),
        ("both", ("text",), SearchIndexError),
        ("image", ("text",), SearchIndexError),
        ("pixels", ("text", "image"), SearchIndexError),
        (None, ("audio",), SearchIndexError),
    ],
)
def test_fields_follow_what_the_model_reads(
    tmp_path: Path, fields: str | None, modalities: tuple[str, ...], expected: object
) -> None:
    encoder = WordsEncoder(modalities=modalities)
    if expected is SearchIndexError:
        with pytest.raises(SearchIndexError, match=r"fields|reads"):
            build_index(tmp_path / "index", make_pages(1, 2), encoder, fields=fields, progress=False)  # type: ignore[arg-type]
        assert not (tmp_path / "index").exists()
    else:
        index = build_index(tmp_path / "index", make_pages(1, 2), encoder, fields=fields, progress=False)  # type: ignore[arg-type]
        assert index.facts.fields == expected


def test_bad_pages_are_named_before_any_work(tmp_path: Path) -> None:
    encoder, page = WordsEncoder(), PageRecord("a#p0", "a", 0, "text")
    with pytest.raises(DataError, match=r"'a#p0' is there twice"):
        build_index(tmp_path / "index", [page, page], encoder)
    gone = replace(page, image=tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"gone\.png: the image of page 'a#p0' is missing \(and 1 more\)"):
        build_index(tmp_path / "index", [gone, replace(gone, page_id="b")], encoder)
    with pytest.raises(DataError, match="no pages"):
        build_index(tmp_path / "index", [], encoder)
    with pytest.raises(DataError, match="rename"):
        build_index(tmp_path / "index", [replace(page, document="a\udcff.pdf")], encoder)
    assert encoder.encoded == 0


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    pages, encoder = make_pages(1, 2), WordsEncoder()
    for dim in (0, 25, 2.0):
        with pytest.raises(SearchIndexError, match="dim must be a whole number from 1 to 24"):
            build_index(tmp_path / "index", pages, encoder, dim=dim)  # type: ignore[arg-type]
    with pytest.raises(SearchIndexError, match="batch_size"):
        build_index(tmp_path / "index", pages, encoder, batch_size=0)
    with pytest.raises(SearchIndexError, match=r"manhattan.*the model's"):
        build_index(tmp_path / "index", pages, WordsEncoder(similarity="manhattan"))


def test_vectors_that_are_not_finite_are_refused_by_page(tmp_path: Path) -> None:
    encoder = WordsEncoder()
    encoder.projection[0, 0] = float("nan")
    with pytest.raises(SearchIndexError, match=r"page 'energy-0\.pdf#p0' is not finite"):
        build_index(tmp_path / "index", make_pages(1, 2), encoder, progress=False)
    with pytest.raises(SearchIndexError, match="not built to the end"):
        open_index(tmp_path / "index")


def test_a_folder_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SearchIndexError, match="holds files that are no index"):
        build_index(tmp_path, make_pages(1, 1), WordsEncoder())
    with pytest.raises(SearchIndexError, match="is a file"):
        build_index(tmp_path / "thesis.txt", make_pages(1, 1), WordsEncoder())
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(SearchIndexError, match="is no search index"):
            open_index(path)
    assert sorted(os.listdir(tmp_path)) == ["thesis.txt"]


def damage(path: Path, text: str) -> Path:
    (path).write_text(text)
    return path


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "\x00\x01", '{"format": 1}', '{"version": "../../etc"}', '{"version": 3}']
)
def test_a_damaged_pointer_gives_a_clear_error(built: Path, tmp_path: Path, text: str) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    damage(copy / "index.json", text)
    with pytest.raises(SearchIndexError, match=r"index\.json is damaged .*build the index again"):
        open_index(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", r"facts\.json is damaged"),
        ({"pages": "many"}, r"'pages' is missing or of the wrong type"),
        ({"dim": None}, r"'dim' is missing or of the wrong type"),
        ({"format": 99}, r"layout 99"),
        ({"similarity": "psychic"}, r"similarity 'psychic' is unknown"),
        ({"pages": 31}, r"holds 30 pages where its facts say 31"),
    ],
)
def test_damaged_facts_give_a_clear_error(
    built: Path, tmp_path: Path, change: str | dict[str, object], message: str
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    path = next(copy.glob("versions/*/facts.json"))
    text = change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change)
    damage(path, text)
    with pytest.raises(SearchIndexError, match=message):
        open_index(copy)


def test_lost_tables_give_a_clear_error(built: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    table = next(copy.glob("versions/*/pages.lance"))
    shutil.rmtree(table / "_versions")
    with pytest.raises(SearchIndexError, match=r"cannot be read .*build it again"):
        open_index(copy)
    shutil.rmtree(table)
    with pytest.raises(SearchIndexError, match=r"has no pages\.lance"):
        open_index(copy)


def test_table_files_lost_after_opening_give_a_clear_error(built: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    opened = open_index(copy)
    for file in copy.glob("versions/*/pages.lance/_indices/*/*"):
        file.write_bytes(b"garbage")
    with pytest.raises(SearchIndexError, match=r"pages\.lance cannot be read .*build it again"):
        opened.matching("page", 3)


def test_two_builds_at_once_are_refused(tmp_path: Path) -> None:
    with building(folder_at(tmp_path / "index")), pytest.raises(SearchIndexError, match="another build"):
        build_index(tmp_path / "index", make_pages(1, 1), WordsEncoder())


def test_progress_is_reported_to_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    build_index(
        tmp_path / "index",
        make_pages(2),
        WordsEncoder(),
        batch_size=5,
        progress=lambda *call: calls.append(call),
    )
    assert calls == [(0, 12), (5, 12), (10, 12), (12, 12)]


def test_a_full_disk_is_one_sentence_and_leaves_the_version_before(tmp_path: Path) -> None:
    path, encoder = tmp_path / "index", WordsEncoder(dim=256)
    build_index(path, make_pages(1, 3), encoder, progress=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files fails writes as a full disk does, halfway through a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(SearchIndexError, match=r"cannot be written .*untouched") as error:
            build_index(path, make_pages(5, 30), encoder, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert len(open_index(path)) == 3
    assert len(build_index(path, make_pages(5, 30), encoder, progress=False)) == 150


def test_a_dataset_is_indexed_with_its_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pages = []
    for number in range(4):
        image = tmp_path / "images" / f"{number}.jpg"
        image.write_bytes(b"%d" % number)
        text = "" if number == 3 else f"chapter {number}"
        pages.append(
            Page(f"a.pdf#p{number}", "a.pdf", number, str(image), 30, 40, text, f"hash{number}", "pdf")
        )
    document = Document("a.pdf", "/from/a.pdf", page_count=4, pages=tuple(pages), split="test")
    dataset = Dataset(tmp_path, {}, (document,), ())
    index = build_index(tmp_path / "index", dataset, WordsEncoder(), progress=False)
    assert (index.facts.pages, index.facts.fields, index.facts.pages_without_vector) == (4, "both", 0)
    assert index.facts.media_root == str(tmp_path)
    (stored,) = index.pages(index.matching("chapter 2", 1))
    assert (stored.page_id, stored.image, stored.width, stored.height) == ("a.pdf#p2", "images/2.jpg", 30, 40)
    assert index.image_of(stored) == tmp_path / "images" / "2.jpg"
