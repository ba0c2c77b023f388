"""/v1/embeddings and /v1/models, asked by OpenAI's own client: our vectors, its errors."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL.Image import Image

from serving.test_inputs import png, uri
from sightline.models.encoder import Encoder
from sightline.serving.settings import Settings
from support import model_service, tiny_late
from support.fixtures import TEXTS

SAME = 1e-6
PROMPTS = {"query": "question: ", "document": "page: "}


@pytest.fixture(scope="module")
def encoder(tiny: Callable[[str], Path]) -> Encoder:
    """A model of text and images, with prompts."""
    return Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", prompts=PROMPTS)


@pytest.fixture(scope="module")
def server(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[model_service.Running]:
    settings = Settings(port=0, max_inputs=16, max_images=8, max_characters=5_000)
    with model_service.running(
        tmp_path_factory.mktemp("embeddings"), encoder, settings=settings, max_queue=16
    ) as found:
        yield found


@pytest.fixture
def client(server: model_service.Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def vectors(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return np.array([one.embedding for one in answer.data], dtype=np.float32)


# The vectors


def test_vectors_are_the_encoders(client: OpenAI, encoder: Encoder) -> None:
    answer = client.embeddings.create(model="tiny-model", input=TEXTS)
    assert np.abs(vectors(answer) - encoder.encode_document(TEXTS).numpy()).max() <= SAME
    assert answer.model == "tiny-model"
    one = client.embeddings.create(model="tiny-model", input="hello", user="u-1")
    assert np.abs(vectors(one) - encoder.encode_document(["hello"]).numpy()).max() <= SAME


def test_base64_and_numbers_are_the_same_vectors(client: OpenAI) -> None:
    numbers = client.embeddings.create(model="tiny-model", input=TEXTS, encoding_format="float")
    assert np.array_equal(
        vectors(client.embeddings.create(model="tiny-model", input=TEXTS)), vectors(numbers)
    )
    raw = client.embeddings.create(model="tiny-model", input=TEXTS, encoding_format="base64")
    decoded = [np.frombuffer(base64.b64decode(str(one.embedding)), "<f4") for one in raw.data]
    assert np.array_equal(np.stack(decoded), vectors(numbers))


def test_the_client_that_does_not_wait(server: model_service.Running, encoder: Encoder) -> None:
    async def many() -> list[np.ndarray]:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            answers = await asyncio.gather(
                *(client.embeddings.create(model="tiny-model", input=text) for text in TEXTS)
            )
        return [vectors(answer)[0] for answer in answers]

    assert np.abs(np.stack(asyncio.run(many())) - encoder.encode_document(TEXTS).numpy()).max() <= SAME


def test_dimensions_are_prefixes_at_unit_length(client: OpenAI, encoder: Encoder) -> None:
    found = vectors(client.embeddings.create(model="tiny-model", input=TEXTS, dimensions=16))
    expected = encoder.encode_document(TEXTS, truncate_dim=16, normalize=True).numpy()
    assert np.abs(found - expected).max() <= SAME


def test_questions_get_the_prompt_of_questions(client: OpenAI, encoder: Encoder) -> None:
    for kind in ("query", "search_query"):
        answer = client.embeddings.create(model="tiny-model", input="pump", extra_body={"input_type": kind})
        assert np.abs(vectors(answer) - encoder.encode_query(["pump"]).numpy()).max() <= SAME


def test_usage_counts_the_tokens_of_the_model(client: OpenAI, encoder: Encoder) -> None:
    from sightline.inputs.parse import parse

    expected = sum(
        encoder.preprocessor(parse({"text": text}), role="document", prompt="page: ").cost.tokens
        for text in TEXTS
    )
    usage = client.embeddings.create(model="tiny-model", input=TEXTS).usage
    assert usage.prompt_tokens == usage.total_tokens == expected


def test_images_and_texts_in_every_spelling(
    server: model_service.Running, encoder: Encoder, pictures: list[Image]
) -> None:
    url = uri(png(pictures[0]))
    image = {"type": "image_url", "image_url": {"url": url}}
    text = {"type": "text", "text": "a page"}
    given = [
        "a page", text, {"text": "a page"}, image, {"image": url}, [text, image], {"text": "a page", "image": url},
        {"content": [text, image]},
    ]  # fmt: skip
    page = {"text": "a page", "image": pictures[0]}
    meant = ["a page", "a page", "a page", pictures[0], pictures[0], page, page, page]
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"input": given})
    assert answer.status_code == 200, answer.text
    found = np.array([one["embedding"] for one in answer.json()["data"]])
    assert np.abs(found - encoder.encode_document(meant).numpy()).max() <= SAME

    messages = [{"role": "user", "content": [text, image]}]
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"messages": messages})
    assert answer.status_code == 200, answer.text
    spoken = [{"role": "user", "content": ["a page", pictures[0]]}]
    found = np.array([answer.json()["data"][0]["embedding"]])
    assert np.abs(found - encoder.encode_document([spoken]).numpy()).max() <= SAME


def test_uploaded_images(server: model_service.Running, encoder: Encoder, pictures: list[Image]) -> None:
    files = [("file", (f"{number}.png", png(picture))) for number, picture in enumerate(pictures[:2])]
    fields = {"model": "tiny-model", "dimensions": "8", "input_type": "document"}
    answer = httpx.post(f"{server.url}/v1/embeddings", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    expected = encoder.encode_document(pictures[:2], truncate_dim=8, normalize=True).numpy()
    found = np.array([one["embedding"] for one in answer.json()["data"]])
    assert np.abs(found - expected).max() <= SAME


def test_token_ids_of_the_model(client: OpenAI, encoder: Encoder) -> None:
    tokenizer = encoder.backbones()[""].processor.tokenizer
    assert tokenizer is not None
    ids = [tokenizer(text)["input_ids"] for text in ("the annual report", "a pump")]
    expected = encoder.encode_document(["the annual report", "a pump"]).numpy()
    assert np.abs(vectors(client.embeddings.create(model="tiny-model", input=ids)) - expected).max() <= SAME
    alone = client.embeddings.create(model="tiny-model", input=ids[0])
    assert np.abs(vectors(alone) - expected[:1]).max() <= SAME
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length"):
        client.embeddings.create(model="tiny-model", input=[[99_999, 3]])


def test_token_vectors_come_as_numbers(tmp_path: Path, tiny_encoder: Callable[[str], Encoder]) -> None:
    encoder = Encoder.from_pretrained(
        tiny_late.modernbert(tmp_path / "late"), device="cpu", multi_vector=True
    )
    with (
        model_service.running(tmp_path, encoder, pages_by=tiny_encoder("bert")) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = client.embeddings.create(model="tiny-model", input=["a pump"], dimensions=4)
    expected = encoder.encode_document(["a pump"], truncate_dim=4, normalize=True).tokens()[0].numpy()
    assert np.abs(np.array(answer.data[0].embedding) - expected).max() <= SAME


# The models


def test_models_are_listed(client: OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("tiny-model", "model", "sightline")
    assert client.models.retrieve("tiny-model").id == "tiny-model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


# Refusals


def test_an_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'text-embedding-3-small' does not exist") as refused:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": []}, "input is empty"),
        ({"input": "a", "dimensions": 65}, "64 dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "truncate": True}, "truncate"),
        ({"input": None}, "give input"),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "not both"),
        ({"input": [{}]}, "is empty"),
        ({"input": [3.5]}, "input"),
        ({"input": [{"image": "http://127.0.0.1:1/x.png"}]}, "opens no URLs"),
        ({"input": [{"image": "/etc/passwd"}]}, "data URI"),
        ({"input": ["a", {"image": "data:image/png;base64,AAAA"}]}, "not an image"),
        ({"input": [["a"]]}, "input"),
    ],
)
def test_bad_requests_say_what_is_wrong(server: model_service.Running, body: object, says: str) -> None:
    answer = httpx.post(f"{server.url}/v1/embeddings", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"]


def test_too_much_at_once(server: model_service.Running) -> None:
    for body in ({"input": ["a"] * 17}, {"input": "x" * 5_001}):
        assert httpx.post(f"{server.url}/v1/embeddings", json=body).status_code == 413
    headers = {"content-type": "application/json"}
    assert httpx.post(f"{server.url}/v1/embeddings", content=b"{", headers=headers).status_code == 400


def test_a_model_of_text_refuses_images(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, pictures: list[Image]
) -> None:
    with model_service.running(tmp_path, tiny_encoder("bert")) as server:
        url = f"{server.url}/v1/embeddings"
        answers = [
            httpx.post(url, json={"input": [{"image": uri(png(pictures[0]))}]}),
            httpx.post(url, files={"file": ("x.png", png(pictures[0]))}),
            httpx.post(url, json={"messages": [{"role": "user", "content": "a"}]}),
        ]
    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert "this model reads text" in answers[0].json()["error"]["message"]


def test_a_full_queue_is_a_rate_limit(server: model_service.Running, client: OpenAI) -> None:
    started, go = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        assert go.wait(30)

    def ask() -> None:
        asyncio.run(server.engine.run(block))

    holder = threading.Thread(target=ask)
    holder.start()
    assert started.wait(30)
    inside = threading.Thread(
        target=client.embeddings.create, kwargs={"model": "tiny-model", "input": ["a"] * 16}
    )
    inside.start()
    try:
        while server.engine.stats().waiting < 16:
            assert inside.is_alive()
        with pytest.raises(openai.RateLimitError, match="16 items are waiting") as refused:
            client.embeddings.create(model="tiny-model", input="b")
        assert int(refused.value.response.headers["retry-after"]) >= 1
    finally:
        go.set()
        holder.join(30)
        inside.join(30)
    assert len(client.embeddings.create(model="tiny-model", input="b").data) == 1


def test_an_image_that_breaks_fails_alone(server: model_service.Running, pictures: list[Image]) -> None:
    cut = png(pictures[2])[:-4_000]  # the header says how large it is, the pixels are missing
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"input": ["a", {"image": uri(cut)}]})
    assert answer.status_code == 400, answer.text
    assert "input 1" in answer.json()["error"]["message"]


def test_the_document_describes_requests_by_itself(server: model_service.Running) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    content = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]
    assert "$" not in str(content)
    assert set(content["multipart/form-data"]["schema"]["properties"]) >= {"file", "model", "dimensions"}
    assert {"input", "messages", "encoding_format"} <= set(
        content["application/json"]["schema"]["properties"]
    )
    assert {"/v1/rerank", "/v2/rerank", "/v1/models"} <= set(document["paths"])
