"""One small service for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex
from sightline.serving.app import create_app
from support.services import make_index, service_of


@pytest.fixture(scope="session")
def small_encoder(tiny_encoder: Callable[[str], Encoder]) -> Encoder:
    """Reads texts and images."""
    return tiny_encoder("clip")


@pytest.fixture(scope="session")
def small_index(small_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    return make_index(tmp_path_factory.mktemp("served"), small_encoder)


@pytest.fixture(scope="session")
def client(small_index: SearchIndex, small_encoder: Encoder) -> Iterator[TestClient]:
    with TestClient(
        create_app(service_of(small_index, small_encoder)), base_url="http://localhost"
    ) as client:
        yield client
