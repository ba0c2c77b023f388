"""Another version of the index, noticed while requests run: none fails, and each answer is of one version whole."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sightline.errors import SearchIndexError
from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex, open_index
from sightline.search.versions import POINTER, use_version
from sightline.serving.engine import Engine
from sightline.serving.loading import IndexSource
from sightline.serving.served import Served
from sightline.serving.service import Service
from sightline.serving.settings import Settings
from support.services import DOCUMENTS, PAGES, make_index, page_records, running

REQUESTS, SWITCHES, CLIENTS = 200, 5, 8


class Loader(IndexSource):
    """Versions of two models, one of which the service was started with; no checkpoint is read."""

    def __init__(self, path: Path, settings: Settings, encoders: list[Encoder]) -> None:
        super().__init__(path, settings)
        self.encoders = encoders

    def _encoder(self, index: SearchIndex) -> Encoder:
        for encoder in self.encoders:
            try:
                index.check_model(encoder)
            except SearchIndexError:
                continue
            return encoder
        raise SearchIndexError("no such model")


@pytest.fixture(scope="module")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    from support.tiny_models import clip

    return Encoder.from_pretrained(clip(tmp_path_factory.mktemp("other"), seed=7), device="cpu")


@pytest.fixture
def two_versions(tmp_path: Path, small_encoder: Encoder, other_encoder: Encoder) -> tuple[Path, list[str]]:
    """An index of all pages and one of two documents less, of another model; the first is open."""
    first = make_index(tmp_path, small_encoder)
    less = [record for record in page_records(tmp_path / "media") if record.document.startswith("annual")]
    second = make_index(tmp_path, other_encoder, records=less)
    use_version(first.path, first.facts.version)
    return tmp_path / "index", [first.facts.version, second.facts.version]


async def asked(client: httpx.AsyncClient, answers: list[httpx.Response], until: asyncio.Event) -> None:
    while not until.is_set():
        answers.append(await client.post("/v1/search", json={"query": "page", "top_k": 50, "mode": "vector"}))


async def switched(url: str, path: Path, versions: list[str]) -> list[httpx.Response]:
    """The answers to clients that go on asking while the version is switched to and fro."""
    answers: list[httpx.Response] = []
    until = asyncio.Event()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        clients = [asyncio.ensure_future(asked(client, answers, until)) for _ in range(CLIENTS)]
        for number in range(SWITCHES):
            await asyncio.sleep(0.2)
            wanted = versions[(number + 1) % 2]
            use_version(path, wanted)
            while answers[-1:] == [] or answers[-1].json().get("version") != wanted:
                await asyncio.sleep(0.02)
        while len(answers) < REQUESTS:
            await asyncio.sleep(0.02)
        until.set()
        await asyncio.gather(*clients)
    return answers


def test_switches_lose_nothing_and_mix_nothing(
    two_versions: tuple[Path, list[str]], small_encoder: Encoder, other_encoder: Encoder
) -> None:
    path, versions = two_versions
    settings = Settings(watch_s=0.05)
    service = Service(settings, source=Loader(path, settings, [small_encoder, other_encoder]))
    with running(service) as url:
        while httpx.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.02)
        answers = asyncio.run(switched(url, path, versions))
        assert len(answers) >= REQUESTS
        assert {answer.status_code for answer in answers} == {200}
        expected = {
            versions[0]: {f"{name}#p{page}" for name in DOCUMENTS for page in range(PAGES)},
            versions[1]: {f"annual report.pdf#p{page}" for page in range(PAGES)},
        }
        for answer in answers:
            found = answer.json()
            assert {hit["page_id"] for hit in found["hits"]} == expected[found["version"]]
            assert all(found["version"] in hit["image"] for hit in found["hits"])
        assert {answer.json()["version"] for answer in answers} == set(versions)

        # What was found before can still be looked at; searching it needs the model that is not loaded any more.
        old = next(
            version for version in versions if version != httpx.get(f"{url}/v1/index").json()["version"]
        )
        page_id = "annual report.pdf#p0"
        for place in ("page", "page/image", "page/thumbnail"):
            got = httpx.get(f"{url}/v1/{place}", params={"page_id": page_id, "version": old})
            assert got.status_code == 200, got.text
        refused = httpx.post(f"{url}/v1/search", json={"query": "x", "version": old})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_not_loaded")


def test_a_version_that_cannot_be_served_leaves_the_one_before(
    two_versions: tuple[Path, list[str]], small_encoder: Encoder
) -> None:
    path, versions = two_versions
    settings = Settings(watch_s=0.02)
    source = Loader(path, settings, [small_encoder])
    service = Service(settings, Served.of(open_index(path), Engine(small_encoder)), source=source)
    with running(service) as url:
        use_version(path, versions[1])  # of a model that cannot be loaded
        time.sleep(0.2)
        pointer = json.loads((path / POINTER).read_text())
        (path / POINTER).write_text("{")
        time.sleep(0.2)
        found: dict[str, Any] = httpx.post(f"{url}/v1/search", json={"query": "page"}).json()
        assert found["version"] == versions[0]
        (path / POINTER).write_text(json.dumps(pointer))
        assert httpx.get(f"{url}/readyz").status_code == 200


def test_versions_beside_are_searched_by_name(
    two_versions: tuple[Path, list[str]], small_encoder: Encoder, other_encoder: Encoder
) -> None:
    path, versions = two_versions
    settings = Settings(watch_s=0, versions=(versions[1],))
    service = Service(settings, source=Loader(path, settings, [small_encoder, other_encoder]))
    with running(service) as url:
        while httpx.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.02)
        assert httpx.get(f"{url}/v1/index").json()["versions"][0] == versions[0]
        assert set(httpx.get(f"{url}/v1/index").json()["versions"]) == set(versions)
        for version, pages in ((versions[1], PAGES), (versions[0], PAGES * len(DOCUMENTS))):
            wanted = {"query": "page", "top_k": 50, "version": version, "mode": "vector"}
            found = httpx.post(f"{url}/v1/search", json=wanted).json()
            assert (found["version"], len(found["hits"])) == (version, pages)
