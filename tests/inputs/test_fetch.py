"""fetch against a real server on the loopback interface."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sightline.errors import FetchError
from sightline.inputs import fetch as fetch_module
from sightline.inputs.addresses import refusal
from sightline.inputs.fetch import FetchPolicy, fetch, redact
from sightline.inputs.media import open_image

ALLOWED = FetchPolicy(
    allow_private=True, max_bytes=10_000, connect_timeout=2, read_timeout=1, total_timeout=3
)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.server.headers_seen = dict(self.headers)  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        if path == "/ok":
            self.answer(200, b"hello")
        elif path == "/gzip":
            self.answer(200, gzip.compress(b"\0" * 1_000_000), {"Content-Encoding": "gzip"})
        elif path == "/big":
            self.answer(200, b"x" * 10_001)
        elif path == "/chunked":
            self.chunks([b"ab", b"cd"])
        elif path == "/chunked-big":
            self.chunks([b"x" * 6_000] * 100)
        elif path == "/empty":
            self.answer(200, b"")
        elif path == "/missing":
            self.answer(404, b"no")
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        elif path == "/drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.drip(b"x")
        elif path == "/drip-headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
            self.drip(b"a")
        elif path == "/silent":
            self.server.stop.wait(10)  # type: ignore[attr-defined]
        elif path == "/nonsense":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            self.close_connection = True
        elif path == "/loop":
            self.answer(302, b"", {"Location": "/loop"})
        elif path.startswith("/hop"):
            left = int(path[4:])
            self.answer(307, b"", {"Location": f"/hop{left - 1}" if left else "/ok"})
        elif path == "/to-file":
            self.answer(302, b"", {"Location": "file:///etc/passwd"})
        elif path == "/to-metadata":
            self.answer(302, b"", {"Location": "http://169.254.169.254/latest/"})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunks(self, chunks: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in [*chunks, b""]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def drip(self, byte: bytes) -> None:
        for _ in range(100):
            self.wfile.write(byte)
            self.wfile.flush()
            if self.server.stop.wait(0.1):  # type: ignore[attr-defined]
                return

    def log_message(self, *args: object) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        return  # clients of these tests hang up early


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    server.stop = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.stop.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture
def base(server: Server) -> str:
    server.seen.clear()  # type: ignore[attr-defined]
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_reads_plain_and_chunked_bodies(base: str, server: Server) -> None:
    assert fetch(f"{base}/ok", ALLOWED) == b"hello"
    assert server.headers_seen["Accept-Encoding"] == "identity"  # type: ignore[attr-defined]
    assert fetch(f"{base}/chunked", ALLOWED) == b"abcd"
    assert fetch(f"{base}/ok?a=b%20c&d=é", ALLOWED) == b"hello"
    assert server.seen[-1] == "/ok?a=b%20c&d=%C3%A9"  # type: ignore[attr-defined]


def test_follows_five_redirects_and_no_more(base: str) -> None:
    assert fetch(f"{base}/hop4", ALLOWED) == b"hello"
    with pytest.raises(FetchError, match="more than 5 times"):
        fetch(f"{base}/hop5", ALLOWED)
    with pytest.raises(FetchError, match="more than 5 times"):
        fetch(f"{base}/loop", ALLOWED)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/big", "larger than the limit of 10,000 bytes"),
        ("/chunked-big", "larger than the limit of 10,000 bytes"),
        ("/gzip", "compressed"),
        ("/empty", "empty"),
        ("/missing", "404"),
        ("/short", "ends after 9 of 100 bytes"),
        ("/nonsense", "cannot be read"),
        ("/to-file", "only http and https"),
        ("/silent", "in time"),
        ("/drip", "longer than 3 s"),
        ("/drip-headers", "longer than 3 s"),
    ],
)
def test_refusals_name_the_url_and_the_cause(base: str, path: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as caught:
        fetch(f"{base}{path}?token=secret", ALLOWED)
    assert f"{base}{path}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_private_addresses_are_refused_before_connecting(base: str, server: Server) -> None:
    port = server.server_address[1]
    for host in ("127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        with pytest.raises(FetchError, match="refused"):
            fetch(f"http://{host}:{port}/ok")
    with pytest.raises(FetchError, match="loopback"):
        open_image(f"{base}/a.png")
    assert server.seen == []  # type: ignore[attr-defined]


def test_redirects_are_checked_again(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the first host is let through, as if it were public; the redirect leads to cloud metadata.
    monkeypatch.setattr(
        fetch_module, "refusal", lambda address: None if address == "127.0.0.1" else refusal(address)
    )
    strict = replace(ALLOWED, allow_private=False)
    assert fetch(f"{base}/ok", strict) == b"hello"
    with pytest.raises(FetchError, match=r"/to-metadata: redirects to .*link-local address 169.254.169.254"):
        fetch(f"{base}/to-metadata", strict)


def test_the_checked_address_is_the_one_connected_to(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that resolves to a public address when checked and to loopback afterwards gains nothing:
    # it is looked up once.
    port = int(base.rsplit(":", 1)[1])
    answers = iter(["127.0.0.1", "10.0.0.1"])
    looked_up: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert fetch(f"http://rebind.test:{port}/ok", ALLOWED) == b"hello"
    assert looked_up == ["rebind.test"]


def test_one_private_address_among_several_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(FetchError, match=r"private address 10\.0\.0\.1"):
        fetch("http://mixed.test/a.png")


def test_proxies_are_not_used(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(f"{base}/ok", ALLOWED) == b"hello"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://x.org/a", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("x.org/a", "only http and https"),
        ("http:///a", "no host"),
        ("http://x.org:99999/a", "not a readable URL"),
        ("http://[::bad/a", "not a readable URL"),
        ("http://x.org/a b", "spaces"),
        ("http://x.org/a\r\nHost: y", "control characters"),
        ("http://x.org\\@127.0.0.1/", "backslashes"),
        ("http://user:pw@x.org/a", "user name"),
        ("http://" + "a" * 80 + ".org/", "not a readable URL"),
        ("http://nowhere.invalid/a", "unknown"),
    ],
)
def test_bad_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as caught:
        fetch(url)
    assert "pw" not in str(caught.value)


def test_tls_needs_a_certificate(base: str) -> None:
    with pytest.raises(FetchError, match="TLS"):
        fetch(base.replace("http:", "https:") + "/ok", ALLOWED)


def test_a_dripping_tls_handshake_ends() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB follows, byte by byte
            while not stop.wait(0.1):
                try:
                    client.sendall(b"\x02")
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        with pytest.raises(FetchError, match="longer than"):
            fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/", replace(ALLOWED, total_timeout=1))
    finally:
        stop.set()
        listener.close()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1"),
        *(
            "::10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "2001:db8::1",
            "198.18.0.1",
        ),
        *("203.0.113.1", "not an address"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert refusal(address) is None


def test_redacted_urls() -> None:
    assert redact("https://u:p@x.org:8/a/b?c=d#e") == "https://x.org:8/a/b?..."
    assert redact("http://[::bad") == "<unreadable URL>"
    assert len(redact("http://x.org/" + "a" * 1000)) < 250
