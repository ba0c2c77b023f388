"""How vectors are kept and found: the same pages in the same order as evaluation's indexes find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
import torch

from sightline.errors import SearchIndexError
from sightline.evaluation.quantized import index_of
from sightline.evaluation.ranking import search_top_k
from sightline.evaluation.storage import Storage
from sightline.models.similarity import similarity
from sightline.search import nearest as searching
from sightline.search import scan as scanning
from sightline.search.approximate import Plan
from sightline.search.layout import Layout
from sightline.search.nearest import Nearest
from sightline.search.pooled import Pooling
from sightline.search.tuning import tuned
from sightline.types import Embeddings

DIM, PAGES = 40, 300


def clustered(count: int, dim: int = DIM, *, seed: int = 0, topics: int = 12) -> np.ndarray:
    """Vectors around topics, longer and shorter ones."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((topics, dim))
    vectors = centres[random.integers(0, topics, count)] + 0.7 * random.standard_normal((count, dim))
    return (vectors * random.uniform(0.5, 2, (count, 1))).astype(np.float32)


def table_of(folder: Path, layout: Layout, vectors: list[np.ndarray | None]) -> Any:
    facts = pa.table(
        {
            "position": pa.array(range(len(vectors)), pa.int64()),
            "page_id": [f"p{number}" for number in range(len(vectors))],
        }
    )
    for name, column in layout.arrays(vectors).items():
        facts = facts.append_column(name, column)
    facts = facts.replace_schema_metadata(layout.metadata())
    return lancedb.connect(str(folder)).create_table("pages", facts, on_bad_vectors="null")


def settled(layout: Layout, vectors: np.ndarray) -> Layout:
    """With the ranges of all vectors, as a build measures them."""
    cuts = {dim: layout.column(dim).cut(Embeddings(torch.from_numpy(vectors))).values for dim in layout.dims}
    return layout.settled({dim: torch.stack([cut.amin(0), cut.amax(0)]) for dim, cut in cuts.items()})


def found(nearest: Nearest, query: np.ndarray, limit: int, **options: Any) -> list[int]:
    return [match.position for match in nearest.search(query, limit, **options)]


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_numbers_are_searched_as_evaluation_searches_them(
    tmp_path: Path, precision: str, measure: str
) -> None:
    pages, queries = clustered(PAGES), clustered(6, seed=1)
    layout = settled(Layout((DIM, 24, 9), precision, measure), pages)
    nearest = Nearest(table_of(tmp_path, layout, list(pages)), layout)
    for dim in layout.dims:
        expected = index_of(Embeddings(torch.from_numpy(pages)), Storage(dim, precision), measure)
        order_qK = expected.search(Embeddings(torch.from_numpy(queries)), 20).tolist()
        assert [found(nearest, query, 20, dim=dim) for query in queries] == order_qK


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean"])
def test_scores_of_prefixes_are_those_of_evaluation(tmp_path: Path, measure: str) -> None:
    pages, query = clustered(50), clustered(1, seed=1)
    layout = Layout((DIM, 16), "float32", measure)
    nearest = Nearest(table_of(tmp_path, layout, list(pages)), layout)
    for dim in layout.dims:
        expected = search_top_k(
            torch.from_numpy(query), torch.from_numpy(pages), 50, dims=[dim], similarity=measure
        )[dim]
        scores = [match.score for match in nearest.search(query[0], 50, dim=dim)]
        np.testing.assert_allclose(scores, expected.scores[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [DIM, 19])
def test_signs_are_put_into_order_by_the_query_as_evaluation_does_it(tmp_path: Path, dim: int) -> None:
    pages, queries = clustered(PAGES * 2), clustered(6, seed=1)
    layout = Layout((DIM, 19), "binary")
    nearest = Nearest(table_of(tmp_path, layout, list(pages)), layout)
    expected = index_of(Embeddings(torch.from_numpy(pages)), Storage(dim, "binary+query"), "cosine")
    order_qK = expected.search(Embeddings(torch.from_numpy(queries)), 20).tolist()
    assert [found(nearest, query, 20, dim=dim) for query in queries] == order_qK


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_originals_put_coarse_vectors_into_the_order_of_float16(tmp_path: Path, precision: str) -> None:
    pages, queries = clustered(PAGES), clustered(6, seed=1)
    layout = settled(Layout((DIM, 24), precision, rescore=True), pages)
    nearest = Nearest(table_of(tmp_path, layout, list(pages)), layout)
    for dim in layout.dims:
        # All pages are candidates here, so nothing can be missed.
        expected = index_of(Embeddings(torch.from_numpy(pages)), Storage(dim, "float16"), "cosine")
        order_qK = expected.search(Embeddings(torch.from_numpy(queries)), 10).tolist()
        assert [found(nearest, query, 10, dim=dim) for query in queries] == order_qK


def test_what_a_vector_takes_is_what_lance_is_given(tmp_path: Path) -> None:
    pages = clustered(8)
    for precision, rescore in (("float32", False), ("float16", False), ("int8", True), ("binary", True)):
        layout = settled(Layout((DIM, 24), precision, rescore=rescore), pages)
        taken = sum(column.flatten().nbytes for column in layout.arrays(list(pages)).values())
        assert taken == 8 * layout.bytes_per_vector


def test_the_table_says_how_it_is_laid_out(tmp_path: Path) -> None:
    pages = clustered(20)
    layout = settled(Layout((DIM, 24), "int8", "dot", rescore=True), pages)
    table_of(tmp_path, layout, list(pages))
    read = Layout.read(lancedb.connect(str(tmp_path)).open_table("pages").schema.metadata)
    assert read == layout
    for dim in layout.dims:
        assert torch.equal(read.ranges[dim], layout.ranges[dim])
    with pytest.raises(SearchIndexError, match="does not say how its vectors are kept"):
        Layout.read({})


def test_pages_without_a_vector_are_never_found(tmp_path: Path) -> None:
    pages: list[np.ndarray | None] = list(clustered(30))
    pages[3] = pages[17] = None
    for precision in ("float32", "float16", "int8", "binary"):
        layout = Layout((DIM,), precision)
        layout = settled(layout, np.stack([page for page in pages if page is not None]))
        nearest = Nearest(table_of(tmp_path / precision, layout, pages), layout)
        assert sorted(found(nearest, clustered(1)[0], 30)) == [n for n in range(30) if n not in (3, 17)]


def test_filters_leave_what_they_say_in_memory_and_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = clustered(60)
    layout = settled(Layout((DIM,), "int8"), pages)
    table = table_of(tmp_path, layout, list(pages))
    whole = found(Nearest(table, layout), pages[5], 60)
    expected = [number for number in whole if number < 25]
    where = "position < 25"
    loaded = Nearest(table, layout)
    loaded.search(pages[5], 1)
    assert found(loaded, pages[5], 60, where=where) == expected
    assert found(Nearest(table, layout), pages[5], 60, where=where) == expected
    monkeypatch.setattr(scanning, "KEPT", 10)
    unkept = Nearest(table, layout)
    assert found(unkept, pages[5], 60) == whole
    assert found(unkept, pages[5], 60, where=where) == expected
    assert found(unkept, pages[5], 60, where="position < 0") == []


def token_pages(count: int, *, seed: int = 0, most: int = 12) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = [clustered(int(random.integers(1, most)), 16, seed=seed + number) for number in range(count)]
    return [one / np.linalg.norm(one, axis=1, keepdims=True) for one in tokens]


@pytest.mark.parametrize("measure", ["maxsim", "meanmaxsim"])
def test_token_vectors_score_as_the_models_similarity_says(tmp_path: Path, measure: str) -> None:
    pages, query = token_pages(70), token_pages(1, seed=500, most=9)[0]
    layout = Layout((16, 8), "float32", measure)
    nearest = Nearest(table_of(tmp_path, layout, [*pages, None]), layout)
    asked = Embeddings.ragged([torch.from_numpy(query)])
    stored = Embeddings.ragged([torch.from_numpy(page) for page in pages])
    for dim in layout.dims:
        cut = [one if dim == 16 else one.truncate(dim, normalize=True) for one in (asked, stored)]
        scores_N = similarity(measure, *cut)[0].numpy()
        matches = nearest.search(query, 100, dim=dim)
        assert [match.position for match in matches] == np.argsort(-scores_N, kind="stable").tolist()
        np.testing.assert_allclose([match.score for match in matches], np.sort(scores_N)[::-1], atol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "int8", "binary"])
def test_coarse_token_vectors_are_searched_as_evaluation_searches_them(
    tmp_path: Path, precision: str
) -> None:
    pages, queries = token_pages(70), token_pages(4, seed=500, most=9)
    layout = Layout((16,), precision, "maxsim")
    tokens = torch.from_numpy(np.concatenate(pages))
    layout = layout.settled({16: torch.stack([tokens.amin(0), tokens.amax(0)])})
    nearest = Nearest(table_of(tmp_path, layout, list(pages)), layout)
    stored = Embeddings.ragged([torch.from_numpy(page) for page in pages])
    asked = Embeddings.ragged([torch.from_numpy(query) for query in queries])
    order_qK = index_of(stored, Storage(16, precision), "maxsim").search(asked, 15).tolist()
    scores = [[match.score for match in nearest.search(query, 15)] for query in queries]
    positions = [found(nearest, query, 15) for query in queries]
    for one, other, known in zip(positions, order_qK, scores):
        # Signs make many equal scores, whose sums may differ in the last bit.
        assert len(set(one) ^ set(other)) <= 2 * sum(abs(score - known[-1]) < 1e-5 for score in known)
    if precision != "binary":
        assert positions == order_qK


def test_pooled_vectors_stand_in_for_maxsim() -> None:
    """Their dot products follow MaxSim; averages over the tokens follow it less."""
    pages, queries = token_pages(120, most=30), token_pages(20, seed=900, most=8)
    pooling = Pooling(16)
    documents_NF = pooling.documents(Embeddings.ragged([torch.from_numpy(one) for one in pages])).values
    exact_qN = similarity(
        "maxsim",
        Embeddings.ragged([torch.from_numpy(one) for one in queries]),
        Embeddings.ragged([torch.from_numpy(one) for one in pages]),
    )
    pooled_qN = torch.stack([pooling.query(torch.from_numpy(one)) for one in queries]) @ documents_NF.T
    means_qN = (
        torch.stack([torch.from_numpy(one.sum(0)) for one in queries])
        @ torch.stack([torch.from_numpy(one.mean(0)) for one in pages]).T
    )
    assert documents_NF.shape == (120, pooling.width)

    def follows(scores_qN: torch.Tensor) -> float:
        pairs = zip(scores_qN, exact_qN, strict=True)
        return float(np.mean([np.corrcoef(one.numpy(), other.numpy())[0, 1] for one, other in pairs]))

    assert follows(pooled_qN) > max(0.8, follows(means_qN))
    # A page of one token has that token in every cell.
    single = pooling.documents(Embeddings(torch.eye(16)[None, :1], torch.ones(1, 1, dtype=torch.bool))).values
    assert torch.allclose(pooling.query(torch.eye(16)[:1]) @ single[0], torch.tensor(float(pooling.cuttings)))


@pytest.mark.parametrize(
    ("precision", "kind", "measure"),
    [
        ("float32", "ivf", "cosine"),
        ("float16", "hnsw", "cosine"),
        ("float32", "ivf", "euclidean"),
        ("int8", "ivf", "cosine"),
        ("binary", "ivf", "cosine"),
    ],
)
def test_an_approximate_search_finds_what_it_says(
    tmp_path: Path, precision: str, kind: str, measure: str
) -> None:
    pages, queries = clustered(3000, topics=40), clustered(60, seed=1, topics=40)
    layout = settled(Layout((DIM, 24), precision, measure), pages)
    table = table_of(tmp_path, layout, list(pages))
    approximate = tuned(table, layout, Plan(kind, 0.9), list(queries))
    assert set(approximate) == {DIM, 24}
    nearest = Nearest(table, layout, approximate)
    for dim, facts in approximate.items():
        assert (facts.queries, facts.sample, facts.target) == ("questions", 30, 0.9)
        kept = []
        for query in queries[1::2]:
            exact = nearest.search(query, 10, dim=dim, exact=True)
            some = nearest.search(query, 10, dim=dim)
            kept.append(len({m.position for m in some} & {m.position for m in exact}) / 10)
            known = {match.position: match.score for match in exact}
            for match in some:
                if match.position in known:
                    assert match.score == pytest.approx(known[match.position], abs=2e-3)
        assert np.mean(kept) == pytest.approx(facts.recall, abs=0.02)
        # Clusters are drawn anew each time, and these questions did not choose the settings: within four standard
        # errors of what was asked for.
        assert facts.recall >= facts.target - 4 * np.std(kept) / len(kept) ** 0.5


def test_without_questions_pages_are_asked_for_and_do_not_count_themselves(tmp_path: Path) -> None:
    pages = clustered(240)
    layout = Layout((DIM,))
    (facts,) = tuned(table_of(tmp_path, layout, list(pages)), layout, Plan("ivf", 0.9)).values()
    assert (facts.queries, facts.sample) == ("pages", 120)
    assert facts.recall >= 0.85


def test_few_filtered_pages_are_all_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = clustered(1000)
    layout = Layout((DIM,))
    table = table_of(tmp_path, layout, list(pages))
    nearest = Nearest(table, layout, tuned(table, layout, Plan("ivf", 0.5), list(clustered(50, seed=3))))
    exact = Nearest(table, layout)
    query = clustered(1, seed=7)[0]
    few = "position < 40"
    assert found(nearest, query, 40, where=few) == found(exact, query, 40, where=few)
    # Through the index a filter holds too, and there are always as many pages as asked for.
    monkeypatch.setattr(searching, "FEW", 10)
    through = found(nearest, query, 40, where=few)
    assert sorted(through) == list(range(40))


def test_large_collections_of_token_vectors_are_shortlisted(tmp_path: Path) -> None:
    pages, questions = token_pages(150), token_pages(60, seed=300)
    layout = Layout((16,), "float16", "maxsim")
    table = table_of(tmp_path, layout, list(pages))
    assert tuned(table, layout, Plan()) == {}
    approximate = tuned(table, layout, Plan("ivf", 0.9), questions)
    facts = approximate[16]
    assert (facts.index, facts.queries) == ("IVF_SQ", "questions")
    assert facts.recall >= 0.85
    query = token_pages(1, seed=777)[0]
    exact = {m.position: m.score for m in Nearest(table, layout).search(query, 150)}
    for match in Nearest(table, layout, approximate).search(query, 10):
        assert match.score == pytest.approx(exact[match.position], abs=1e-5)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    pages = clustered(10)
    layout = Layout((DIM, 24))
    nearest = Nearest(table_of(tmp_path, layout, list(pages)), layout)
    with pytest.raises(SearchIndexError, match="no vectors of 12 dimensions, only of 40, 24"):
        nearest.search(pages[0], 3, dim=12)
    with pytest.raises(SearchIndexError, match="without truncate_dim"):
        nearest.search(pages[0][:30], 3)
    with pytest.raises(SearchIndexError, match="one vector of 40"):
        nearest.search(pages, 3)
    with pytest.raises(SearchIndexError, match="no HNSW index"):
        Plan("hnsw").check(Layout((DIM,), "binary"))
    for wrong in ({"kind": "magic"}, {"recall": 0.0}, {"recall": 1.5}):
        with pytest.raises(SearchIndexError, match=r"ann|recall"):
            Plan(**wrong)  # type: ignore[arg-type]
