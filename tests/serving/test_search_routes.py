"""Search, pages and pictures over HTTP: the same as without it, in the agreed JSON."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sightline.feedback.store import FeedbackStore
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.search.index import SearchIndex
from sightline.search.pages import PageRecord
from sightline.search.searcher import Searcher
from sightline.serving.app import create_app
from sightline.serving.pictures import Thumbnails
from sightline.serving.served import public_name
from support.services import DOCUMENTS, PAGES, SIZE, make_index, service_of
from support.tiny_rerankers import bert_scores


def data_uri(image: Image.Image, kind: str = "PNG") -> str:
    held = io.BytesIO()
    image.save(held, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(held.getvalue()).decode()}"


def search(client: TestClient, **wanted: Any) -> dict[str, Any]:
    answer = client.post("/v1/search", json=wanted)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_the_hits_are_the_searchers(
    client: TestClient, small_index: SearchIndex, small_encoder: Encoder, mode: str
) -> None:
    query = "the pump of the northern plants"
    found = search(client, query=query, mode=mode, top_k=5)
    expected = Searcher(small_index, small_encoder).search(query, mode=mode, top_k=5)
    assert [hit["page_id"] for hit in found["hits"]] == [hit.page_id for hit in expected]
    assert [hit["score"] for hit in found["hits"]] == pytest.approx([hit.score for hit in expected], abs=1e-6)
    for hit, own in zip(found["hits"], expected, strict=True):
        assert (hit["rank"], hit["document"], hit["page"]) == (own.rank, own.document, own.page)
        assert (hit["vector_rank"], hit["text_rank"]) == (own.vector_rank, own.text_rank)
        assert hit["snippet"] == {
            "text": own.snippet.text,
            "highlights": [list(span) for span in own.snippet.highlights],
        }
        assert (hit["width"], hit["height"]) == SIZE
    assert (found["mode"], found["query"], found["reranked"]) == (mode, query, False)
    assert found["version"] == small_index.facts.version
    stages = {"vector": {"encode", "vector"}, "text": {"text"}, "hybrid": {"encode", "vector", "text"}}[mode]
    assert stages | {"total"} <= set(found["timings"])
    assert sum(ms for stage, ms in found["timings"].items() if stage != "total") <= found["timings"]["total"]


def test_an_image_finds_its_page(client: TestClient, small_index: SearchIndex) -> None:
    page = small_index.page("plants/north.pdf#p2")
    assert page is not None
    path = small_index.image_of(page)
    assert path is not None
    found = search(client, image=data_uri(Image.open(path)), mode="vector", top_k=3)
    assert found["hits"][0]["page_id"] == page.page_id
    assert found["query"] is None


def test_filters_limit_and_unknown_ones_are_named(client: TestClient) -> None:
    found = search(client, query="page", top_k=50, filters={"documents": ["plants/north.pdf"]})
    assert [hit["document"] for hit in found["hits"]] == ["plants/north.pdf"] * PAGES
    answer = client.post("/v1/search", json={"query": "page", "filters": {"documents": ["plants/nroth.pdf"]}})
    assert answer.status_code == 400
    assert "did you mean 'plants/north.pdf'" in answer.json()["error"]["message"]


def test_weights_take_effect(client: TestClient) -> None:
    only_words = search(client, query="the pressure gauge", weights={"vector": 0, "text": 1}, top_k=4)
    by_words = search(client, query="the pressure gauge", mode="text", top_k=4)
    assert [hit["page_id"] for hit in only_words["hits"]] == [hit["page_id"] for hit in by_words["hits"]]


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({}, "query"),
        ({"query": None, "image": None}, "query"),
        ({"query": 7}, "query"),
        ({"query": "x", "quer": "x"}, "quer"),
        ({"query": "x", "top_k": 0}, "top_k"),
        ({"query": "x", "top_k": 201}, "top_k"),
        ({"query": "x", "top_k": True}, "top_k"),
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"query": "x", "weights": {"vector": -1}}, "weights.vector"),
        ({"query": "x", "filters": {"documents": "a.pdf"}}, "filters.documents"),
        ({"query": "x", "image": "/etc/passwd"}, "image"),
        ({"query": "x", "image": "http://127.0.0.1/x.png"}, "image"),
        ({"query": "x", "version": "../../index"}, "version"),
    ],
)
def test_what_is_wrong_is_named(client: TestClient, wanted: dict[str, Any], param: str) -> None:
    answer = client.post("/v1/search", json=wanted)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), answer.text
    assert error["type"] == "invalid_request_error"
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "wanted", [{"rerank": True}, {"dimensions": 7}, {"weights": {"vector": 0, "text": 0}}]
)
def test_what_the_index_cannot_do_is_said(client: TestClient, wanted: dict[str, Any]) -> None:
    answer = client.post("/v1/search", json={"query": "x", **wanted})
    assert answer.status_code == 400, answer.text


def test_an_unknown_version_is_not_found(client: TestClient) -> None:
    answer = client.post("/v1/search", json={"query": "x", "version": "abc123"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_version")


def test_an_empty_question_finds_nothing(client: TestClient) -> None:
    assert search(client, query="   ")["hits"] == []


def test_the_index_says_what_it_holds(client: TestClient, small_index: SearchIndex) -> None:
    found = client.get("/v1/index").json()
    assert found["documents"] == [
        {"name": name, "pages": PAGES, "first_page": f"{name}#p0"} for name in DOCUMENTS
    ]
    assert (found["pages"], found["version"]) == (PAGES * len(DOCUMENTS), small_index.facts.version)
    assert found["dimensions"] == list(small_index.dims)
    assert found["query_modalities"] == ["text", "image"]
    assert (found["reranker"], found["feedback"], found["versions"]) == (None, False, [found["version"]])
    assert "/" not in found["model"]


@pytest.mark.parametrize("document", list(DOCUMENTS))
def test_pages_know_their_neighbours(client: TestClient, document: str) -> None:
    ids = [f"{document}#p{page}" for page in range(PAGES)]
    for number, page_id in enumerate(ids):
        found = client.get("/v1/page", params={"page_id": page_id}).json()
        assert (found["page_id"], found["document"], found["page"]) == (page_id, document, number)
        assert found["text"].startswith(DOCUMENTS[document])
        assert found["previous"] == (ids[number - 1] if number else None)
        assert found["next"] == (ids[number + 1] if number + 1 < PAGES else None)
        assert parse_qs(urlsplit(found["image"]).query)["page_id"] == [page_id]


def test_pictures_are_the_pages_and_are_kept_by_browsers(
    client: TestClient, small_index: SearchIndex
) -> None:
    hit = search(client, query="the pressure gauge", top_k=1)["hits"][0]
    page = small_index.page(hit["page_id"])
    assert page is not None
    path = small_index.image_of(page)
    assert path is not None
    whole = client.get(hit["image"])
    assert (whole.content, whole.headers["content-type"]) == (path.read_bytes(), "image/png")
    assert "immutable" in whole.headers["cache-control"]
    again = client.get(hit["image"], headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    small = client.get(hit["thumbnail"] + "&width=64")
    assert Image.open(io.BytesIO(small.content)).size == SIZE
    smaller = client.get(hit["thumbnail"] + "&width=120")
    assert Image.open(io.BytesIO(smaller.content)).size == SIZE
    assert smaller.headers["content-type"] == "image/jpeg"
    for width in (0, 1281, "wide"):
        assert client.get(f"{hit['thumbnail']}&width={width}").status_code == 400


def test_thumbnails_are_smaller(small_encoder: Encoder, tmp_path: Path) -> None:
    image = tmp_path / "media" / "page.png"
    image.parent.mkdir()
    Image.linear_gradient("L").resize((1000, 1500)).save(image)
    record = PageRecord("a.pdf#p0", "a.pdf", 0, "words", image, 1000, 1500)
    index = make_index(tmp_path, small_encoder, records=[record])
    page = index.page("a.pdf#p0")
    assert page is not None
    thumbnails = Thumbnails(max_bytes=1)
    content, kind = thumbnails.get(index, page, 200)
    assert Image.open(io.BytesIO(content)).size == (240, 360)
    assert kind == "image/jpeg"
    assert thumbnails.get(index, page, 240) is thumbnails.get(index, page, 201)


def test_heat_maps_are_the_searchers(
    client: TestClient, small_index: SearchIndex, small_encoder: Encoder
) -> None:
    page_id = "plants/north.pdf#p1"
    wanted = {"query": "the pump", "page_id": page_id}
    found = client.post("/v1/heatmap", json=wanted).json()
    expected = Searcher(small_index, small_encoder).explain("the pump", page_id)
    values = np.frombuffer(base64.b64decode(found["values"]), np.uint8).reshape(
        found["height"], found["width"]
    )
    assert np.abs(values / 255 - expected.values_HW).max() <= 0.5 / 255 + 1e-4
    assert values.max() == 255
    assert (found["method"], found["model"]) == (expected.method, "encoder")
    for wrong, status in (({"query": ""}, 400), ({"page_id": "no"}, 404), ({"dimensions": 7}, 400)):
        assert client.post("/v1/heatmap", json={**wanted, **wrong}).status_code == status


def test_a_reranker_orders_what_was_found_and_the_search_is_kept(
    small_index: SearchIndex, small_encoder: Encoder, tmp_path: Path
) -> None:
    reranker = Reranker.from_pretrained(bert_scores(tmp_path / "reranker"), device="cpu")
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    service = service_of(small_index, small_encoder, reranker, feedback_store=store)
    query = "employees of the plants"
    expected = Searcher(small_index, small_encoder, reranker=reranker).search(query, top_k=4, rerank_depth=6)
    with TestClient(create_app(service)) as client:
        found = search(client, query=query, top_k=4, rerank_depth=6, session="tab-1")
        assert [hit["page_id"] for hit in found["hits"]] == [hit.page_id for hit in expected]
        assert [hit["score"] for hit in found["hits"]] == pytest.approx(
            [hit.score for hit in expected], abs=1e-5
        )
        assert found["reranked"] is True
        assert found["timings"]["rerank"] > 0
        without = search(client, query=query, top_k=4, rerank=False)
        assert without["reranked"] is False
        facts = client.get("/v1/index").json()
        assert (facts["reranker"], facts["feedback"]) == ("reranker", True)
        kept = {logged.id: logged for logged in store.searches()}
        assert (kept[found["id"]].query, kept[found["id"]].session) == (query, "tab-1")
        nothing = search(client, query="zzyzx", mode="text")
        assert nothing["hits"] == []
        assert [one.query for one in store.searches() if not one.shown] == ["zzyzx"]
        assert [shown.page_id for shown in kept[found["id"]].shown] == [
            hit["page_id"] for hit in found["hits"]
        ]


def test_a_page_image_that_went_missing_is_no_error_of_the_question(
    small_encoder: Encoder, tmp_path: Path
) -> None:
    index = make_index(tmp_path, small_encoder)
    for path in (tmp_path / "media" / "images").iterdir():
        path.unlink()
    service = service_of(index, small_encoder)
    with TestClient(create_app(service)) as client:
        hit = search(client, query="the pump", top_k=1)["hits"][0]
        for place in ("image", "thumbnail"):
            answer = client.get(hit[place])
            assert (answer.status_code, answer.json()["error"]["param"]) == (404, "page_id")
        answer = client.post("/v1/heatmap", json={"query": "the pump", "page_id": hit["page_id"]})
        assert answer.status_code == 400
        assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/srv/models/runs/demo/final", "demo/final"),
        ("runs/demo/checkpoints/checkpoint-40", "demo/checkpoint-40"),
        ("/srv/models/minilm", "minilm"),
        ("./final", "final"),
        ("Qwen/Qwen3-VL-Embedding-2B", "Qwen/Qwen3-VL-Embedding-2B"),
    ],
)
def test_a_model_is_named_without_its_place(model: str, name: str) -> None:
    assert public_name(model) == name
