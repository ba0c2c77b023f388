"""Who may ask, how much and how long; what every answer carries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from sightline.errors import ConfigError
from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex
from sightline.serving.app import create_app
from sightline.serving.errors import ApiError, without_paths
from sightline.serving.gate import check_json
from sightline.serving.service import Service
from sightline.serving.settings import Settings, read_keys
from support.services import Held, running, service_of

KEY, OTHER = "a-key-of-some-length", "another-key-of-length"
JSON = {"content-type": "application/json"}


@contextmanager
def client_of(service: Service, **options: Any) -> Iterator[TestClient]:
    with TestClient(create_app(service), **options) as client:
        yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert set(found) == {"message", "type", "code", "param", "request_id"}
    return found


def test_keys_are_asked_for_where_the_api_is(small_index: SearchIndex, small_encoder: Encoder) -> None:
    with client_of(service_of(small_index, small_encoder, api_keys=(KEY, OTHER))) as client:
        for path in ("/healthz", "/readyz", "/", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        for path in ("/v1/index", "/v1/nothing", "/metrics", "/v1/page?page_id=x"):
            answer = client.get(path)
            assert (answer.status_code, error_of(answer)["type"]) == (401, "authentication_error"), path
            assert answer.headers["www-authenticate"] == "Bearer"
        for headers in (
            {"Authorization": f"Bearer {KEY}"},
            {"Authorization": f"bearer  {OTHER}"},
            {"X-Api-Key": KEY},
            {"api-key": OTHER},
        ):
            assert client.get("/v1/index", headers=headers).status_code == 200, headers
        for headers in ({"Authorization": KEY}, {"Authorization": f"Bearer {KEY}x"}, {"X-Api-Key": "ü" * 20}):
            raw = {name: value.encode() for name, value in headers.items()}
            assert client.get("/v1/index", headers=raw).status_code == 401, headers


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for the team\n{KEY}\n\n  {OTHER}\n")
    assert read_keys(file) == (KEY, OTHER)
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="holds no API key"):
        read_keys(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "missing")
    with pytest.raises(ConfigError, match="12 or more"):
        Settings(api_keys=("short",))


def test_settings_come_from_the_environment_under_what_is_given() -> None:
    given = {
        "SIGHTLINE_SERVE_PORT": "9000",
        "SIGHTLINE_SERVE_TIMEOUT_S": "2.5",
        "SIGHTLINE_SERVE_API_KEYS": f"{KEY}, {OTHER}",
        "SIGHTLINE_SERVE_LOG_QUERIES": "true",
        "SIGHTLINE_SERVE_TOKEN_BUDGET": "512",
        "SIGHTLINE_DEBUG": "1",
    }
    settings = Settings.read(given, port=1234, host=None)
    assert (settings.port, settings.timeout_s, settings.api_keys) == (1234, 2.5, (KEY, OTHER))
    assert (settings.log_queries, settings.token_budget) == (True, 512)
    assert "localhost" in settings.allowed_hosts
    assert Settings.read({}, host="0.0.0.0").allowed_hosts == ()
    with pytest.raises(ConfigError, match="SIGHTLINE_SERVE_PROT is no setting"):
        Settings.read({"SIGHTLINE_SERVE_PROT": "1"})
    with pytest.raises(ConfigError, match="must be a number"):
        Settings.read({"SIGHTLINE_SERVE_PORT": "many"})
    for wrong in ({"port": 70_000}, {"threads": 0}, {"max_body_bytes": -1}):
        with pytest.raises(ConfigError):
            Settings(**wrong)


def test_other_host_names_are_refused(small_index: SearchIndex, small_encoder: Encoder) -> None:
    service = service_of(small_index, small_encoder, allowed_hosts=("localhost", "::1"))
    with client_of(service, base_url="http://localhost:8000") as client:
        assert client.get("/v1/index").status_code == 200
        assert client.get("/v1/index", headers={"Host": "[::1]:8000"}).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "", "localhost@evil.example"):
            assert error_of(client.get("/v1/index", headers={"Host": host}))["code"] == "wrong_host", host
            assert client.get("/", headers={"Host": host}).status_code == 421


def test_every_answer_carries_its_id_and_the_headers_of_safety(client: TestClient) -> None:
    for path in ("/", "/v1/index", "/v1/nothing", "/healthz", "/metrics"):
        headers = client.get(path, headers={"X-Request-Id": "mine-1"}).headers
        assert headers["x-request-id"] == "mine-1"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    made = client.get("/healthz", headers={"X-Request-Id": 'bad id\t"'}).headers["x-request-id"]
    assert made.isalnum()
    assert client.get("/v1/index").headers["cache-control"] == "no-store"
    assert (
        "access-control-allow-origin" not in client.get("/v1/index", headers={"Origin": "http://x"}).headers
    )


def test_origins_are_allowed_by_name(small_index: SearchIndex, small_encoder: Encoder) -> None:
    service = service_of(small_index, small_encoder, cors_origins=("https://a.example",), api_keys=(KEY,))
    with client_of(service) as client:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        good = client.options("/v1/search", headers={"Origin": "https://a.example", **asked})
        assert good.headers["access-control-allow-origin"] == "https://a.example"
        bad = client.options("/v1/search", headers={"Origin": "https://b.example", **asked})
        assert "access-control-allow-origin" not in bad.headers


def test_bodies_are_json_and_no_larger_than_they_may_be(
    small_index: SearchIndex, small_encoder: Encoder
) -> None:
    service = service_of(small_index, small_encoder, max_body_bytes=1000, max_upload_bytes=2000)
    with client_of(service) as client:
        long = json.dumps({"query": "x" * 2000})
        assert client.post("/v1/search", content=long, headers=JSON).status_code == 413
        # Without a declared length: what comes is counted.
        pieces = client.post("/v1/search", content=iter([long.encode()[:900], b"x" * 900]), headers=JSON)
        assert (pieces.status_code, error_of(pieces)["code"]) == (413, "too_large")
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
            answer = client.post("/v1/search", content=b'{"query": "x"}', headers={"content-type": kind})
            assert answer.status_code == 415, kind
        upload = client.post("/v1/search", files={"file": b"x" * 3000})
        assert upload.status_code in (400, 413)
        assert client.post("/v1/search", content=b"{", headers=JSON).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 17,
        b'{"a":' * 17,
        b"[" * 1_000_000,
        b'{"query": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": "' + b'\\"' * 50 + b'", "b": ' + b"[" * 16,
    ],
)
def test_deep_json_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match=r"levels deep|more than"):
        check_json(body, 16, 10_000)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 16,
        b'"' + b"[" * 1000 + b'"',
        b'{"a": "\\"[[[[[[[[[[[[[[[[[[[[["}',
        b"",
        b'"\\',
        b"\xff[",
        b"]" * 99,
    ],
)
def test_brackets_in_strings_are_no_depth(body: bytes) -> None:
    check_json(body, 16, 10_000)


def test_many_values_are_refused_and_long_strings_cost_little() -> None:
    with pytest.raises(ApiError, match="more than 1,000 values"):
        check_json(b"[" + b"0," * 2000 + b"0]", 16, 1000)
    # Quadratic time would be hours here, and the limit of every test is five minutes.
    for body in (b'"' + b'\\"' * 2_000_000, b'"' * 4_000_001, b'"' + b"x" * 4_000_000):
        check_json(body, 16, 10_000)


def test_too_many_at_once_and_too_slow(small_index: SearchIndex, small_encoder: Encoder) -> None:
    service = service_of(small_index, small_encoder, max_concurrent=2, timeout_s=0.5)

    async def three() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            held = await Held(service.engine).begun()
            # They reach the gate in one turn of the event loop, so no limit of time can pass between them.
            answers = await asyncio.gather(
                *(client.post("/v1/search", json={"query": "x"}) for _ in range(3))
            )
            await held.release()
            object.__setattr__(service.settings, "timeout_s", 60.0)  # a first search may take its time
            assert (await client.post("/v1/search", json={"query": "x"})).status_code == 200
            return answers

    try:
        *slow, more = asyncio.run(three())
    finally:
        service.engine.close()
    assert [(one.status_code, error_of(one)["code"]) for one in slow] == [(504, "timeout")] * 2
    assert (more.status_code, error_of(more)["code"]) == (503, "overloaded")
    assert int(more.headers["retry-after"]) >= 1


def test_an_endless_body_costs_no_memory(small_index: SearchIndex, small_encoder: Encoder) -> None:
    import psutil

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1024):
            sent += 2**20
            yield b" " * 2**20

    service = service_of(small_index, small_encoder, max_body_bytes=4 * 2**20)
    with running(service) as url:
        httpx.get(f"{url}/v1/index")
        before = psutil.Process().memory_info().rss
        declared = {"content-length": str(2**30), **JSON}
        for headers in (declared, JSON):
            try:
                answer = httpx.post(f"{url}/v1/search", content=endless(), headers=headers, timeout=60)
                assert error_of(answer)["code"] == "too_large"
            except httpx.TransportError:  # the service hung up on what still came, which is its right
                assert sent < 2 * 2**30
        assert psutil.Process().memory_info().rss - before < 64 * 2**20
        assert httpx.get(f"{url}/v1/index").status_code == 200


def test_a_client_that_leaves_takes_its_request_along(
    small_index: SearchIndex, small_encoder: Encoder
) -> None:
    service = service_of(small_index, small_encoder)
    engine = service.engine

    async def leave(url: str) -> None:
        held = await Held(engine).begun()
        async with asyncio.timeout(25):
            async with httpx.AsyncClient(timeout=None) as client:
                asking = asyncio.ensure_future(client.post(f"{url}/v1/search", json={"query": "x"}))
                while not engine.stats().waiting:
                    assert not asking.done(), asking.result().text
                    await asyncio.sleep(0.01)
                asking.cancel()
                await asyncio.wait([asking])
                assert asking.cancelled()
            while not engine.stats().dropped:
                await asyncio.sleep(0.01)
        assert (engine.stats().dropped, engine.stats().waiting) == (1, 0)
        await held.release()

    with running(service) as url:
        asyncio.run(leave(url))


def test_figures_are_counted_by_route_with_bounded_labels(
    small_index: SearchIndex, small_encoder: Encoder
) -> None:
    with client_of(service_of(small_index, small_encoder)) as client:
        client.post("/v1/search", json={"query": "x"})
        for number in range(5):
            client.get(f"/v1/nothing-{number}")
            client.request(f"M{number}", "/v1/index")
        client.get("/nothing.css")
        page = client.get("/metrics").text
    lines = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line[0] != "#"
    }
    assert lines['sightline_requests_total{method="POST",route="/v1/search",status="200"}'] == 1
    assert lines['sightline_requests_total{method="other",route="other",status="405"}'] == 5
    assert sum(value for name, value in lines.items() if name.startswith("sightline_requests_total")) == 12
    assert lines['sightline_request_seconds_count{route="/v1/search"}'] == 1
    assert lines["sightline_ready"] == 1
    assert lines["sightline_engine_tokens_total"] > 0
    assert "nothing" not in page
    assert "M3" not in page


def test_log_lines_name_the_request_and_not_the_query(
    small_index: SearchIndex, small_encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    from sightline.serving.logs import JsonLines

    for log_queries in (False, True):
        caplog.clear()
        logger = logging.getLogger("sightline.requests")
        logger.addHandler(caplog.handler)
        try:
            service = service_of(small_index, small_encoder, log_queries=log_queries)
            with caplog.at_level(logging.INFO, "sightline.requests"), client_of(service) as client:
                client.post("/v1/search", json={"query": "my secret"}, headers={"X-Request-Id": "r1"})
        finally:
            logger.removeHandler(caplog.handler)
        line = json.loads(JsonLines().format(caplog.records[0]))
        assert (line["request_id"], line["route"], line["status"]) == ("r1", "/v1/search", 200)
        assert line["ms"] > 0
        assert line["level"] == "info"
        assert ("my secret" in json.dumps(line)) is log_queries


def test_a_bug_is_told_without_its_inside(
    small_index: SearchIndex, small_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(small_index, small_encoder)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret is in /root/secret.txt")

    monkeypatch.setattr(type(service.current.searcher), "search", broken)
    with client_of(service) as client:
        answer = client.post("/v1/search", json={"query": "x"})
    assert (answer.status_code, error_of(answer)["type"]) == (500, "server_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_places_of_this_machine_are_left_out() -> None:
    inside = Path(__file__).resolve()
    text = without_paths(f"{inside}: no, '{Path.home()}/x/model' and /srv/data/a.lance", ["/srv/data"])
    assert str(inside.parent) not in text
    assert str(Path.home()) not in text
    assert "/srv" not in text
    assert "a.lance" in text


def test_while_loading_the_service_lives_and_is_not_ready(small_encoder: Encoder) -> None:
    service = Service(Settings())
    with client_of(service) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/readyz", "/v1/index"):
            answer = client.get(path)
            assert (answer.status_code, error_of(answer)["code"]) == (503, "loading")
            assert int(answer.headers["retry-after"]) >= 1
