"""What nobody sends by accident: no 500, no place of this machine, nothing read that was not asked for."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex
from sightline.search.pages import PageRecord
from sightline.serving.app import create_app
from support.services import DOCUMENTS, make_index, running, service_of

JSON = {"content-type": "application/json"}
NOWHERE = [
    "",
    "x",
    "../../../etc/passwd",
    "..%2f..%2fetc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "C:\\windows\\win.ini",
    "..\\..\\x",
    "\x00",
    "annual report.pdf#p0\x00.png",
    "annual report.pdf#p-1",
    "annual report.pdf#p99999999999999999999",
    "annual report.pdf",
    "' OR 1=1 --",
    "page_id' OR 'a'='a",
    "a" * 4000,
    "💥" * 500,
    "http://169.254.169.254/latest/meta-data",
    "\u202e",
]


def looked_at(answer: httpx.Response) -> httpx.Response:
    """The answer, after making sure that it is no 500 and names no place of this machine."""
    assert answer.status_code != 500, answer.text
    for place in ("/tmp/", "/root", "/home/", "/usr/", "site-packages", "Traceback", ".lance", "sightline/"):
        assert place not in answer.text, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "code", "param", "request_id"}
    return answer


@pytest.mark.parametrize("page_id", NOWHERE)
def test_page_ids_lead_nowhere(client: TestClient, page_id: str) -> None:
    for path in ("/v1/page", "/v1/page/image", "/v1/page/thumbnail"):
        answer = looked_at(client.get(path, params={"page_id": page_id}))
        assert answer.status_code in (400, 404), page_id
    answer = looked_at(client.post("/v1/heatmap", json={"query": "x", "page_id": page_id}))
    assert answer.status_code in (400, 404)


PATHS = [
    b"/../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/..%2f..%2fetc%2fpasswd",
    b"//etc/passwd",
    b"/%00",
    b"/js/%00.js",
    b"/js/../../app.py",
    b"/%2e%2e/app.py",
    b"/..%5capp.py",
    b"/v1/%2e%2e/%2e%2e/etc/passwd",
    b"/v1/runs/%2e%2e",
    b"/v1/page/image?page_id=%00&version=..",
    b"/" + b"a" * 5000,
    b"/%ff%fe",
    b"/v1/page?page_id=%ff%fe%ed%a0%80",
    b"http://127.0.0.1/etc/passwd",
    b"*",
]


def test_paths_lead_nowhere(small_index: SearchIndex, small_encoder: Encoder) -> None:
    # Sent as they stand: clients would tidy them up.
    with running(service_of(small_index, small_encoder)) as url:
        place = httpx.URL(url)
        for path in PATHS:
            with socket.create_connection((place.host, place.port or 80), timeout=10) as connection:
                connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := connection.recv(65_536):
                    answer += piece
            assert answer.split()[1] in (b"400", b"404", b"307"), (path, answer)
            for secret in (b"root:", b"/etc/passwd\n", b"create_app", b"Traceback", b"/tmp/", b"/root"):
                assert secret not in answer, path


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine and who came to it."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()

        def wait() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                came.append(b"came")
                connection.close()

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield server.getsockname()[1], came
        finally:
            stop.set()
            thread.join()


def test_nothing_that_is_sent_is_opened(client: TestClient, tmp_path: Path) -> None:
    picture = tmp_path / "there.png"
    Image.new("RGB", (8, 8)).save(picture)
    with listener() as (port, came):
        places = [
            f"http://127.0.0.1:{port}/x.png",
            f"http://localhost:{port}/x.png",
            f"http://[::ffff:127.0.0.1]:{port}/x.png",
            f"//127.0.0.1:{port}/x.png",
            "http://169.254.169.254/latest/meta-data/x.png",
            str(picture),
            picture.as_uri(),
            "/etc/passwd",
            "/dev/zero",
            "../there.png",
        ]
        for place in places:
            # As text it is words; the same answer as for words that name nothing.
            asked = {"query": place, "mode": "vector", "top_k": 3}
            found = client.post("/v1/search", json=asked)
            assert (found.status_code, found.json()["query"]) == (200, place)
            for field in ({"image": place}, {"query": "x", "image": place}):
                answer = looked_at(client.post("/v1/search", json=field))
                assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image"), place
            for query in ([place], {"image": place}, {"path": place}, {"image": {"path": place}}):
                assert looked_at(client.post("/v1/search", json={"query": query})).status_code == 400
    assert came == []


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that says it is of this size, whatever it holds."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


BAD_IMAGES = {
    "bomb": uri(png(30_000, 30_000, b"\x00" * 1_000_000)),
    "wide bomb": uri(png(2**31 - 1, 1)),
    "no rows": uri(png(64, 64)),
    "no pixels": uri(png(0, 0)),
    "cut": uri(png(64, 64, b"\x00" * 20_000)[:60]),
    "text": uri(b"hello"),
    "empty": uri(b""),
    "not base64": "data:image/png;base64,@@@@",
    "no data": "data:image/png;base64",
    "script": uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    "postscript": uri(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps"),
    "pdf": uri(b"%PDF-1.4", "application/pdf"),
    "sound": uri(b"RIFF....WAVE", "audio/wav"),
    "surrogate": "data:image/png;base64,\ud800",
    "nul": "data:image/png;base64,\x00",
    "long": "data:image/png;base64," + "A" * 1_000_001,
}


@pytest.mark.parametrize("name", list(BAD_IMAGES))
def test_bad_images_are_refused(client: TestClient, name: str) -> None:
    body = json.dumps({"image": BAD_IMAGES[name], "mode": "vector"})
    answer = looked_at(client.post("/v1/search", content=body, headers=JSON))
    assert answer.status_code in (400, 413), answer.text


@pytest.mark.shared
def test_torture_images_are_refused_or_searched_with(client: TestClient, shared: Path) -> None:
    files = sorted(path for path in (shared / "torture" / "images").rglob("*") if path.is_file())
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        if len(content) > 20 * 2**20:
            continue
        asked = {"image": uri(content), "mode": "vector", "top_k": 1}
        searched = looked_at(client.post("/v1/search", json=asked))
        uploaded = looked_at(client.post("/v1/embeddings", files={"file": (path.name, content)}))
        assert searched.status_code in (200, 400, 413), path.name
        assert uploaded.status_code == searched.status_code, path.name


TEXTS = [
    "\x00",
    "\ud800",
    "a\udfffb",
    "\uffff",
    "💥" * 1000,
    "word " * 30_000,
    "\u202e",
    "${jndi:ldap://x}",
    "' OR 1=1",
]


@pytest.mark.parametrize("mode", ["hybrid", "text"])
def test_any_text_is_words(client: TestClient, mode: str) -> None:
    for text in TEXTS:
        body = json.dumps({"query": text, "mode": mode})
        answer = looked_at(client.post("/v1/search", content=body, headers=JSON))
        assert answer.status_code == 200, text


@pytest.mark.parametrize(
    "filters",
    [
        {"documents": ["\x00"]},
        {"documents": ["\ud800"]},
        {"documents": ["' OR 1=1 --"] * 1000},
        {"languages": ["x" * 10_000]},
        {"metadata": {"\ud800": "\ud800"}},
        {"metadata": {"a": {"b": [1, {"c": None}]}}},
        {"metadata": {"": 1e308}},
        {"metadata": {"a": 10**400}},
        {"metadata": {f"k{number}": number for number in range(500)}},
    ],
)
def test_any_filter_is_data(client: TestClient, filters: dict[str, Any]) -> None:
    body = json.dumps({"query": "x", "filters": filters})
    assert looked_at(client.post("/v1/search", content=body, headers=JSON)).status_code in (200, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{",
        b"\xff\xfe",
        b'{"query": "x", "top_k": 1e999}',
        b'{"query": "x", "top_k": ' + b"9" * 5000 + b"}",
        b'{"query": "x", "weights": {"vector": NaN}}',
        b'{"query": "x", "weights": {"vector": Infinity}}',
        b'{"query": "x", "query": "y", "query": 3}',
        b'{"query": "\\ud800"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"query": "x", "filters": {"metadata": ' + b'{"a":' * 12 + b"1" + b"}" * 14,
        '{"query": "x"}'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'{"query": "x"}',
    ],
)
def test_bodies_that_are_no_request(client: TestClient, body: bytes) -> None:
    assert looked_at(client.post("/v1/search", content=body, headers=JSON)).status_code in (200, 400)


def test_odd_methods_headers_and_ranges(client: TestClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW", "CONNECT"):
        assert looked_at(client.request(method, "/v1/search")).status_code == 405
    page = {"page_id": next(iter(DOCUMENTS)) + "#p0"}
    for value in ("bytes=0-1", "bytes=99999999-", "bytes=-", "lines=1", "bytes=" + "0-1," * 1000):
        for path in ("/", "/v1/page/image", "/openapi.json"):
            assert looked_at(client.get(path, params=page, headers={"Range": value})).status_code == 200
    assert looked_at(client.get("/v1/index", headers={"X-Request-Id": "x" * 10_000})).status_code == 200
    assert looked_at(client.get("/v1/page?page_id=a&page_id=b&width=1")).status_code == 404


def test_images_outside_the_media_root_stay_there(small_encoder: Encoder, tmp_path: Path) -> None:
    outside, media = tmp_path / "outside.png", tmp_path / "media"
    Image.new("RGB", (40, 40), "red").save(outside)
    (media / "images").mkdir(parents=True)
    Image.new("RGB", (40, 40), "blue").save(media / "images" / "own.png")
    (media / "images" / "linked.png").symlink_to(outside)
    (media / "images" / "inside.png").symlink_to(media / "images" / "own.png")
    (media / "images" / "later.png").write_bytes(outside.read_bytes())
    records = [
        PageRecord(f"{name}#p0", name, 0, "words", media / "images" / f"{name}.png", 40, 40)
        for name in ("own", "linked", "inside", "later")
    ]
    index = make_index(tmp_path, small_encoder, records=records)
    (media / "images" / "later.png").write_text("root:x:0:0")
    with TestClient(create_app(service_of(index, small_encoder))) as client:
        for name, status in (("own", 200), ("inside", 200), ("linked", 404), ("later", 404)):
            for path in ("/v1/page/image", "/v1/page/thumbnail"):
                answer = client.get(path, params={"page_id": f"{name}#p0"})
                assert answer.status_code == status, name
                assert b"root:" not in answer.content
                if status == 200:
                    assert Image.open(io.BytesIO(answer.content)).size == (40, 40)


def test_broken_http_is_not_an_error_of_ours(small_index: SearchIndex, small_encoder: Encoder) -> None:
    pieces = [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ]
    with running(service_of(small_index, small_encoder)) as url:
        place = httpx.URL(url)
        for piece in pieces:
            with socket.create_connection((place.host, place.port or 80), timeout=10) as connection:
                try:
                    connection.sendall(piece)
                    connection.shutdown(socket.SHUT_WR)
                    answer = connection.recv(65_536)
                except ConnectionError:
                    answer = b""
            assert b" 500 " not in answer.split(b"\r\n")[0]
            assert b"Traceback" not in answer
        assert httpx.get(f"{url}/v1/index").status_code == 200
