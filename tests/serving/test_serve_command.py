"""`sightline serve` as people and process managers run it: it says what it does, drains, and ends as it was told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex
from sightline.serving.server import Server, listen
from sightline.serving.settings import Settings
from support.services import make_index, service_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, small_encoder: Encoder) -> SearchIndex:
    """An index that names the folder of its model."""
    folder = tmp_path_factory.mktemp("saved")
    small_encoder.save_pretrained(folder / "model")
    return make_index(folder, small_encoder, model=str(folder / "model"))


@contextmanager
def serving(index: SearchIndex, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The command running, its address, and what it writes to stderr."""
    command = [sys.executable, "-m", "sightline.cli.main", "serve", str(index.path), "--port", "0", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"}
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "Ctrl-C" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(120)
        assert process.poll() is None, "".join(lines)
        yield process, next(line.split()[2] for line in lines if "Search page" in line).rstrip("/"), lines
    finally:
        process.kill()
        process.wait()
        reader.join()


def test_it_says_what_it_serves_and_drains(saved: SearchIndex) -> None:
    with serving(saved, "--log", "json", "--api-keys", str(_keys(saved.path.parent))) as (
        process,
        url,
        lines,
    ):
        assert any("12 pages of 3 documents, searched with model" in line for line in lines)
        headers = {"Authorization": "Bearer the-key-of-this-test"}
        assert httpx.get(f"{url}/v1/index").status_code == 401
        assert httpx.get(f"{url}/v1/index", headers=headers).status_code == 200

        # A request whose body still comes when the signal does is answered all the same.
        body = json.dumps({"query": "page"}).encode()
        place = httpx.URL(url)
        with socket.create_connection((place.host, place.port or 80), timeout=30) as connection:
            head = (
                "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer the-key-of-this-test\r\nContent-Length: {len(body)}\r\n"
            )
            _begin(connection, head)
            connection.sendall(body[:5])
            process.send_signal(signal.SIGTERM)
            _until_refused(place)
            connection.sendall(body[5:])
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
        assert process.wait(60) == 0
    logged: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"time", "level", "message", "request_id", "route", "status", "ms"} <= set(logged[-1])
    assert [line["status"] for line in logged if line["message"] == "request"] == [401, 200, 200]
    assert "page" not in [line.get("query") for line in logged]


def test_a_second_signal_ends_it_at_once(small_index: SearchIndex, small_encoder: Encoder) -> None:
    service = service_of(small_index, small_encoder)
    server, listening = Server(service), listen(Settings(port=0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    place = httpx.URL(f"http://127.0.0.1:{listening.getsockname()[1]}")
    with socket.create_connection((place.host, place.port or 80)) as connection:
        _begin(connection, "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
        connection.sendall(b"{")
        server.handle_exit(signal.SIGTERM, None)
        _until_refused(place)
        assert service.draining
        thread.join(0.5)
        assert thread.is_alive()  # the request is waited for
        server.handle_exit(signal.SIGTERM, None)
        thread.join(15)
        assert not thread.is_alive()
        assert server.force_exit


def test_a_taken_port_and_wrong_arguments_are_told(saved: SearchIndex, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["serve", str(saved.path), "--port", port])
        assert result.exit_code == 1
        assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
        assert "--port" in result.stderr
    for arguments, said in (
        (["serve", str(tmp_path / "nothing")], "is no search index"),
        (["serve", str(saved.path), "--log", "xml"], "--log xml"),
        (["serve", str(saved.path), "--port", "0", "-m", str(tmp_path / "no-model")], "no-model"),
        (["serve", str(saved.path), "--api-keys", str(tmp_path / "no")], "cannot be read"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        assert said in result.stderr


def _keys(folder: Path) -> Path:
    file = folder / "keys.txt"
    file.write_text("the-key-of-this-test\n")
    return file


def _begin(connection: socket.socket, head: str) -> None:
    """Sends the head of a request, and waits until the service asks for its body: it has the request then."""
    connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    connection.settimeout(60)
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, said
        said += piece
    assert said.startswith(b"HTTP/1.1 100"), said


def _until_refused(place: httpx.URL) -> None:
    """Wait until the service takes no more connections."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection((place.host, place.port or 80), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("it still listens")
