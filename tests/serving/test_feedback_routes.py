"""``/v1/feedback``: marks on what a search showed, kept when the answer comes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sightline.feedback.store import FeedbackStore
from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex
from sightline.serving.app import create_app
from support.services import service_of


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback.db", wait=0.05)


@pytest.fixture
def asking(store: FeedbackStore, small_index: SearchIndex, small_encoder: Encoder) -> Iterator[TestClient]:
    service = service_of(small_index, small_encoder, feedback_store=store)
    with TestClient(create_app(service), base_url="http://localhost") as client:
        yield client


def search(client: TestClient) -> tuple[str, list[str]]:
    answer = client.post("/v1/search", json={"query": "the pump with its valves", "top_k": 3}).json()
    return answer["id"], [hit["page_id"] for hit in answer["hits"]]


def test_marks_of_a_search(asking: TestClient, store: FeedbackStore) -> None:
    name, pages = search(asking)
    said = [
        {"search_id": name, "page_id": pages[0], "kind": "click"},
        {"search_id": name, "page_id": pages[0], "kind": "relevant"},
        {"search_id": name, "page_id": pages[1], "kind": "relevant"},
        {"search_id": name, "page_id": pages[1], "kind": "clear"},
        {"search_id": name, "page_id": None, "kind": "none_relevant"},
    ]
    made = [asking.post("/v1/feedback", json=body) for body in said]
    assert [answer.status_code for answer in made] == [201] * 5
    kept = asking.get("/v1/feedback", params={"search_id": name}).json()
    assert kept["search_id"] == name
    assert [(mark["page_id"], mark["kind"]) for mark in kept["marks"]] == [
        (pages[0], "click"),
        (pages[0], "relevant"),
        (None, "none_relevant"),
    ]
    assert kept["marks"][0]["id"] == made[0].json()["id"]
    (logged,) = store.searches()
    assert (logged.query, [page.page_id for page in logged.shown]) == ("the pump with its valves", pages)
    assert asking.get("/v1/index").json()["feedback"] is True


def test_a_page_of_the_index_beside_those_shown(asking: TestClient, small_index: SearchIndex) -> None:
    name, pages = search(asking)
    other = next(
        page.page_id for document in small_index.documents for page in small_index.pages_of(document)
        if page.page_id not in pages
    )  # fmt: skip
    body = {"search_id": name, "page_id": other, "kind": "relevant"}
    assert asking.post("/v1/feedback", json=body).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"search_id": "unheard-of", "page_id": "x#p0", "kind": "click"}, 404, "unknown_search"),
        ({"page_id": "../../etc/passwd", "kind": "click"}, 400, "bad_request"),
        ({"page_id": None, "kind": "relevant"}, 400, "bad_request"),
        ({"page_id": "x#p0", "kind": "none_relevant"}, 400, "bad_request"),
        ({"page_id": "x#p0", "kind": "lovely"}, 400, "invalid_value"),
        ({"page_id": "x#p0"}, 400, "invalid_value"),
        ({"page_id": "\ud800", "kind": "click"}, 400, "invalid_value"),
        ({"page_id": "\x00", "kind": "click"}, 400, "bad_request"),
        ({"page_id": "x" * 5000, "kind": "click"}, 400, "invalid_value"),
        ({"search_id": "", "page_id": "x", "kind": "click"}, 400, "invalid_value"),
    ],
)
def test_what_is_refused(asking: TestClient, body: dict[str, object], status: int, code: str) -> None:
    name, _ = search(asking)
    # Written with escapes, so that half a character can be sent as well.
    sent = json.dumps({"search_id": name, **body})
    answer = asking.post("/v1/feedback", content=sent, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert asking.get("/v1/feedback", params={"search_id": name}).json()["marks"] == []


def test_searches_nobody_made(asking: TestClient) -> None:
    for params in ({"search_id": "unheard-of"}, {"search_id": "\x00"}):
        assert asking.get("/v1/feedback", params=params).json()["error"]["code"] == "unknown_search"
    assert asking.get("/v1/feedback").status_code == 400


def test_a_service_that_keeps_none(client: TestClient) -> None:
    answer = client.post("/v1/feedback", json={"search_id": "x", "page_id": "x#p0", "kind": "click"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "feedback_off")
    assert client.get("/v1/feedback", params={"search_id": "x"}).status_code == 404
    assert client.get("/v1/index").json()["feedback"] is False


def test_a_store_that_cannot_write(asking: TestClient, store: FeedbackStore) -> None:
    name, pages = search(asking)
    body = {"search_id": name, "page_id": pages[0], "kind": "click"}
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = asking.post("/v1/feedback", json=body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["error"]["code"] == "feedback_unavailable"
    assert str(store.path) not in answer.text
    # Searching goes on.
    assert asking.post("/v1/search", json={"query": "a pump"}).status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert asking.post("/v1/feedback", json=body).status_code == 201
