"""/v1/rerank and /v2/rerank, asked by Cohere's own clients: our scores, in order, its errors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cohere
import httpx
import numpy as np
import pytest
from cohere.errors import BadRequestError, NotFoundError, NotImplementedError
from PIL.Image import Image
from torch import nn

from serving.test_inputs import png, uri
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support import model_service
from support.tiny_answers import qwen3_vl_answers
from support.tiny_rerankers import bert_scores

SAME = 1e-6
QUERY = "costs of the plant"
DOCUMENTS = ["a table of costs", "pump, valves, seals " * 6, "", "the northern plants", "a table of costs"]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    return Reranker.from_pretrained(
        bert_scores(tmp_path_factory.mktemp("rerank") / "tiny-reranker"), device="cpu"
    )


@pytest.fixture(scope="module")
def server(
    reranker: Reranker,
    tiny_encoder: Callable[[str], Encoder],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[model_service.Running]:
    with model_service.running(tmp_path_factory.mktemp("service"), tiny_encoder("bert"), reranker) as found:
        yield found


def test_the_second_version_of_the_client(server: model_service.Running, reranker: Reranker) -> None:
    client = cohere.ClientV2(api_key="none", base_url=server.url)
    answer = client.rerank(model="tiny-reranker", query=QUERY, documents=DOCUMENTS)
    ranked = reranker.rank(QUERY, DOCUMENTS)
    assert [one.index for one in answer.results] == [one["corpus_id"] for one in ranked]
    scores = np.array([one.relevance_score for one in answer.results])
    assert np.abs(scores - [one["score"] for one in ranked]).max() <= SAME
    assert ((scores >= 0) & (scores <= 1)).all()
    assert answer.meta is not None
    assert answer.meta.tokens is not None
    assert answer.meta.tokens.input_tokens == sum(
        reranker.preprocessor(pair).cost.tokens for pair in _pairs(QUERY, DOCUMENTS)
    )
    best = client.rerank(model="tiny-reranker", query=QUERY, documents=DOCUMENTS, top_n=2)
    assert [one.index for one in best.results] == [one.index for one in answer.results][:2]


def _pairs(query: str, documents: list[str]) -> list:  # type: ignore[type-arg]
    from sightline.inputs.pairs import parse_pair

    return [parse_pair((query, document)) for document in documents]


def test_the_first_version_gives_documents_back(server: model_service.Running) -> None:
    client = cohere.Client(api_key="none", base_url=server.url)
    answer = client.rerank(
        model="tiny-reranker",
        query=QUERY,
        documents=[{"text": text} for text in DOCUMENTS],
        return_documents=True,
    )
    for one in answer.results:
        assert one.document is not None
        assert one.document.text == DOCUMENTS[one.index]
    plain = client.rerank(query=QUERY, documents=DOCUMENTS)
    assert plain.results[0].document is None
    fields = [{"title": "a table", "body": "of costs"}, {"title": "pump", "body": "valves"}]
    named = client.rerank(query=QUERY, documents=fields, rank_fields=["title", "body"])  # type: ignore[arg-type]
    joined = client.rerank(query=QUERY, documents=["a table\nof costs", "pump\nvalves"])
    assert [(one.index, one.relevance_score) for one in named.results] == [
        (one.index, one.relevance_score) for one in joined.results
    ]


def test_the_client_that_does_not_wait(server: model_service.Running, reranker: Reranker) -> None:
    queries = [f"query {number}" for number in range(6)]

    async def many() -> list[list[int]]:
        client = cohere.AsyncClientV2(api_key="none", base_url=server.url)
        answers = await asyncio.gather(
            *(client.rerank(model="tiny-reranker", query=query, documents=DOCUMENTS) for query in queries)
        )
        return [[one.index for one in answer.results] for answer in answers]

    assert asyncio.run(many()) == [
        [one["corpus_id"] for one in reranker.rank(query, DOCUMENTS)] for query in queries
    ]


def test_scores_without_bounds_are_brought_between_0_and_1(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    free = Reranker.from_pretrained(bert_scores(tmp_path / "free"), device="cpu", activation=nn.Identity())
    with model_service.running(tmp_path, tiny_encoder("bert"), free) as server:
        body = {"query": QUERY, "documents": DOCUMENTS}
        found = httpx.post(f"{server.url}/v1/rerank", json=body).json()["results"]
    logits = {
        number: float(score) for number, score in enumerate(free.predict([(QUERY, one) for one in DOCUMENTS]))
    }
    for one in found:
        assert one["relevance_score"] == pytest.approx(1 / (1 + math.exp(-logits[one["index"]])), abs=SAME)


def test_images(tiny_encoder: Callable[[str], Encoder], tmp_path: Path, pictures: list[Image]) -> None:
    reranker = Reranker.from_pretrained(qwen3_vl_answers(tmp_path / "vl"), device="cpu")
    pages = pictures[:2]
    documents = [{"image": uri(png(page))} for page in pages] + [
        {"text": "a table", "image": uri(png(pages[0]))}
    ]
    with model_service.running(tmp_path, tiny_encoder("bert"), reranker) as server:
        answer = httpx.post(
            f"{server.url}/v1/rerank", json={"query": QUERY, "documents": documents, "return_documents": True}
        )
    assert answer.status_code == 200, answer.text
    expected = reranker.predict([(QUERY, one) for one in [*pages, {"text": "a table", "image": pages[0]}]])
    for one in answer.json()["results"]:
        assert one["relevance_score"] == pytest.approx(float(expected[one["index"]]), abs=SAME)
        assert one["document"] == documents[one["index"]]


def test_refusals(server: model_service.Running, pictures: list[Image]) -> None:
    client = cohere.ClientV2(api_key="none", base_url=server.url)
    with pytest.raises(NotFoundError):
        client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
    with pytest.raises(BadRequestError):
        client.rerank(model="tiny-reranker", query=QUERY, documents=[])
    for body, says in (
        ({"query": QUERY, "documents": ["a"], "top_n": 0}, "top_n"),
        ({"query": QUERY, "documents": ["a"], "max_tokens_per_doc": 5}, "max_tokens_per_doc"),
        ({"query": QUERY, "documents": [{"title": "a"}]}, "rank_fields"),
        ({"query": QUERY, "documents": [{"image": uri(png(pictures[0]))}]}, "this reranker reads text"),
        ({"query": {"image": "http://localhost/x.png"}, "documents": ["a"]}, "opens no URLs"),
    ):
        answer = httpx.post(f"{server.url}/v1/rerank", json=body)
        assert answer.status_code == 400, answer.text
        assert says in answer.json()["error"]["message"] + (answer.json()["error"]["param"] or "")
    listed = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert [(one["id"], one["kind"]) for one in listed] == [
        ("tiny-model", "embedding"),
        ("tiny-reranker", "reranker"),
    ]


def test_a_service_without_a_reranker_says_so(tiny_encoder: Callable[[str], Encoder], tmp_path: Path) -> None:
    with model_service.running(tmp_path, tiny_encoder("bert")) as server:
        client = cohere.ClientV2(api_key="none", base_url=server.url)
        with pytest.raises(NotImplementedError, match="no reranker"):
            client.rerank(model="any", query=QUERY, documents=DOCUMENTS)
