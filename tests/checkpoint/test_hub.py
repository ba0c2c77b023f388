"""Names on the Hub: a fake one on the loopback address, an unreachable one, none at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from sightline.checkpoint.hub import _duplicate_weights
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Serves one repository ``lab/tiny`` out of a folder; remembers which files were asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.sent: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *_: Any) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        root = self.server.folder
        files = sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())
        if path.startswith("/api/models/lab/tiny/tree/"):
            listed = [{"type": "file", "path": name, "size": 1, "oid": COMMIT} for name in files]
            self._send(json.dumps(listed).encode(), body=body)
        elif path.startswith("/api/models/lab/tiny"):
            facts = {"id": "lab/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            self._send(json.dumps(facts).encode(), body=body)
        elif path.startswith("/lab/tiny/resolve/"):
            name = path.removeprefix("/lab/tiny/resolve/").partition("/")[2]
            if name not in files:
                return self._refuse("EntryNotFound")
            content = (root / name).read_bytes()
            if body:
                self.server.sent.append(name)
            self._send(
                content,
                body=body,
                ETag=f'"{hashlib.sha256(content).hexdigest()}"',
                **{"X-Repo-Commit": COMMIT},
            )
        else:
            self._refuse("RepoNotFound")
        return None

    def _send(self, content: bytes, *, body: bool, **headers: str) -> None:
        self.send_response(200)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(tiny: Callable[[str], Path], tmp_path: Path) -> Iterator[FakeHub]:
    folder = tmp_path / "repository"
    Encoder.from_pretrained(tiny("bert"), device="cpu").save_pretrained(folder)
    # What a repository holds beside the files we read.
    for name in (
        "pytorch_model.bin",
        "onnx/model.onnx",
        "tf_model.h5",
        "2_Dense/pytorch_model.bin",
        "optimizer.pt",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not to be read")
    server = FakeHub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


LOAD = """
import sys
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
for name, local in (("lab/tiny", False), ("lab/tiny", True), ("lab/missing", False)):
    try:
        encoder = Encoder.from_pretrained(name, device="cpu", cache_dir=sys.argv[1], local_files_only=local)
        print(name, [round(one, 4) for one in encoder.encode("hello").values[0, :3].tolist()])
    except CheckpointError as error:
        print("CheckpointError", error)
"""


def run(endpoint: str, cache: Path) -> list[str]:
    """Lines printed by `LOAD` in a process of its own, which may use the network of this endpoint only."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(cache / "home"), "HF_HUB_ETAG_TIMEOUT": "5", "NO_PROXY": "*",
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(cache)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return [line for line in done.stdout.splitlines() if line.startswith(("lab/", "CheckpointError"))]


def test_a_name_is_downloaded_once_without_what_is_not_read(
    hub: FakeHub, tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    lines = run(hub.address, tmp_path / "cache")
    # Rounded: where a process's memory lies may decide the last bit of a product.
    vector = [round(one, 4) for one in tiny_encoder("bert").encode("hello").values[0, :3].tolist()]
    wanted = f"lab/tiny {vector}"
    assert lines[:2] == [wanted, wanted]  # the second time from the cache, without asking
    assert lines[2].startswith("CheckpointError lab/missing: cannot be loaded from the Hub: ")
    assert len(hub.sent) == len(set(hub.sent))
    assert {"model.safetensors", "modules.json", "1_Pooling/config.json"} <= set(hub.sent)
    # The head's weights are there as .bin alone, so they are fetched; the backbone's are not fetched twice.
    assert "2_Dense/pytorch_model.bin" in hub.sent
    assert not {"pytorch_model.bin", "onnx/model.onnx", "tf_model.h5", "optimizer.pt"} & set(hub.sent)


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    for line in run("http://127.0.0.1:9", tmp_path):
        assert line.startswith("CheckpointError lab/")
        assert "no such folder, and not in the Hub's cache" in line


def test_offline(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lab/nothing: no such folder, and not in the Hub's cache"):
        Encoder.from_pretrained("lab/nothing", cache_dir=tmp_path)
    for name in ("a b", "lab/../x", "lab/tiny?", "lab/tiny@main", ""):
        with pytest.raises(CheckpointError):
            Encoder.from_pretrained(name, cache_dir=tmp_path)


def test_pickled_weights_are_left_out_only_beside_safetensors() -> None:
    files = [
        "model.safetensors",
        "pytorch_model.bin",
        "2_Dense/pytorch_model.bin",
        "3_Dense/model.safetensors",
    ]
    assert _duplicate_weights([*files, "3_Dense/pytorch_model.bin"]) == [
        "pytorch_model.bin",
        "3_Dense/pytorch_model.bin",
    ]
    assert _duplicate_weights(["pytorch_model.bin"]) == []
