"""A Hub on the loopback address: repositories with branches and commits, made, written and read by huggingface_hub."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_secret"


@dataclass
class Repo:
    """Commits by their hash, each a whole tree of files, and branches that point to them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    private: bool = False

    def commit(self, branch: str, files: dict[str, bytes], message: str = "") -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{message}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        self.messages.append(message)
        return sha

    def sha(self, revision: str) -> str | None:
        revision = self.branches.get(revision, revision)
        return revision if revision in self.commits else None


class FakeHub(ThreadingHTTPServer):
    """Attributes: repositories by name; large files by hash; names of the files that were downloaded."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.sent: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, folder: Path, branch: str = "main") -> str:
        """Puts a folder into a branch of a repository; returns the commit."""
        files = {
            str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()
        }
        return self.repos.setdefault(name, Repo()).commit(branch, files)


@contextmanager
def running() -> Iterator[FakeHub]:
    """A hub without repositories."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(endpoint: str, home: Path, code: str, *arguments: str) -> list[str]:
    """Lines that ``code`` prints in a process of its own, which may use the network of this endpoint only.

    Lines that do not begin with ``> `` are left out, and so is that mark.
    """
    environment = os.environ | {
        "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(home), "HF_HUB_ETAG_TIMEOUT": "5", "NO_PROXY": "*",
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return [line.removeprefix("> ") for line in done.stdout.splitlines() if line.startswith("> ")]


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def do_HEAD(self) -> None:
        self._read(with_body=False)

    def do_GET(self) -> None:
        self._read(with_body=True)

    # Reading

    def _read(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            repo = self.server.repos.get("/".join(parts[2:4]))
            if repo is None:
                return self._refuse(404, "RepoNotFound")
            revision = parts[5] if parts[4:5] in (["revision"], ["tree"]) else "main"
            sha = repo.sha(revision)
            if sha is None:
                return self._refuse(404, "RevisionNotFound")
            files = repo.commits[sha]
            if parts[4:5] == ["tree"]:
                listed = [
                    {"type": "file", "path": name, "size": len(files[name]), "oid": sha}
                    for name in sorted(files)
                ]
                return self._send(listed, with_body=with_body)
            facts = {
                "id": "/".join(parts[2:4]),
                "sha": sha,
                "siblings": [{"rfilename": n} for n in sorted(files)],
            }
            return self._send(facts, with_body=with_body)
        if len(parts) >= 5 and parts[2] == "resolve":
            repo = self.server.repos.get("/".join(parts[:2]))
            sha = None if repo is None else repo.sha(parts[3])
            if repo is None or sha is None:
                return self._refuse(404, "RepoNotFound" if repo is None else "RevisionNotFound")
            name = "/".join(parts[4:])
            if name not in repo.commits[sha]:
                return self._refuse(404, "EntryNotFound")
            content = repo.commits[sha][name]
            if with_body:
                self.server.sent.append(name)
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            return self._answer(200, content, with_body, {"ETag": tag, "X-Repo-Commit": sha})
        return self._refuse(404, "RepoNotFound")

    # Writing

    def do_POST(self) -> None:
        content = self._content()
        split = urlsplit(self.path)
        parts = unquote(split.path).strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "Unauthorized", "Invalid username or password.")
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(content))
        if parts == ["api", "validate-yaml"]:
            return self._validate(json.loads(content)["content"])
        if parts[-3:] == ["lfs", "objects", "batch"]:
            return self._batch(json.loads(content))
        if parts[0] == "verified":
            known = json.loads(content)["oid"] in self.server.large
            return self._send({}) if known else self._refuse(404, "EntryNotFound")
        repo = self.server.repos.get("/".join(parts[2:4]))
        if parts[:2] != ["api", "models"] or repo is None:
            return self._refuse(404, "RepoNotFound")
        if parts[4] == "branch":
            if parts[5] in repo.branches:
                return self._refuse(409, "Conflict", "the branch exists")
            repo.branches[parts[5]] = repo.branches["main"]
            return self._send({})
        if parts[4] == "preupload":
            # As the Hub's .gitattributes have it.
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(content)["files"]
            ]
            return self._send({"files": modes})
        assert parts[4] == "commit", self.path
        wants_pr = "create_pr" in parse_qs(split.query)
        return self._commit("/".join(parts[2:4]), repo, parts[5], content, wants_pr=wants_pr)

    def do_PUT(self) -> None:
        content = self._content()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != oid:
            return self._refuse(400, "BadRequest", "the content is not what its hash says")
        self.server.large[oid] = content
        return self._answer(200, b"", True, {})

    def _create(self, facts: dict[str, Any]) -> None:
        name = f"{facts['organization'] or 'someone'}/{facts['name']}"
        found = {"url": f"{self.server.address}/{name}"}
        if name in self.server.repos:
            return self._send(found | {"error": "You already created this model repo"}, status=409)
        repo = self.server.repos[name] = Repo(private=facts.get("visibility") == "private")
        repo.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        return self._send(found)

    def _validate(self, text: str) -> None:
        import yaml

        if not text.startswith("---\n"):
            return self._send({"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
        try:
            facts = yaml.safe_load(text.split("---\n")[1])
            assert isinstance(facts, dict)
        except Exception as error:
            return self._send({"errors": [{"message": str(error)}], "warnings": []}, status=400)
        return self._send({"errors": [], "warnings": []})

    def _batch(self, facts: dict[str, Any]) -> None:
        objects = []
        for one in facts["objects"]:
            entry: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.server.large:
                entry["actions"] = {
                    "upload": {"href": f"{self.server.address}/large/{one['oid']}"},
                    "verify": {"href": f"{self.server.address}/verified"},
                }
            objects.append(entry)
        self._send({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repo: Repo, revision: str, content: bytes, *, wants_pr: bool) -> None:
        if revision not in repo.branches:
            return self._refuse(404, "RevisionNotFound")
        files = dict(repo.commits[repo.branches[revision]])
        message = ""
        for line in content.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.server.large:
                    return self._refuse(400, "BadRequest", "a large file was not uploaded")
                files[value["path"]] = self.server.large[value["oid"]]
            else:
                assert key == "deletedFile", key
                del files[value["path"]]
        sha = repo.commit("refs/pr/1" if wants_pr else revision, files, message)
        answer = {"commitUrl": f"{self.server.address}/{name}/commit/{sha}", "commitOid": sha}
        if wants_pr:
            answer["pullRequestUrl"] = f"{self.server.address}/{name}/discussions/1"
        return self._send(answer)

    # Answers

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, facts: Any, *, with_body: bool = True, status: int = 200) -> None:
        self._answer(status, json.dumps(facts).encode(), with_body, {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self._answer(status, b"", True, {"X-Error-Code": code, "X-Error-Message": message or code})

    def _answer(self, status: int, content: bytes, with_body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)
