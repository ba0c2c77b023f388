"""A chat endpoint on the loopback that behaves as a test wants, good or bad; a real HTTP server in threads."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass
class Reply:
    """What the server does with a request.

    Attributes:
        body: JSON value, or bytes as they are.
        delay: seconds before it answers.
        reset: break the connection off instead.
        drip: seconds between the bytes of the body.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    reset: bool = False
    drip: float = 0.0


@dataclass
class Seen:
    """A request as it came.

    Attributes:
        number: from 0, in the order of arrival.
        images: SHA-256 of each image.
        at: when, in seconds of the monotonic clock.
    """

    number: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    path: str
    images: tuple[str, ...]
    at: float

    @property
    def said(self) -> str:
        """The text of the first message of the user."""
        return next(part["text"] for part in self.body["messages"][1]["content"] if part["type"] == "text")

    @property
    def is_check(self) -> bool:
        return self.said.startswith("Question: ")


Behaviour = Callable[[Seen], Reply | None]


def completion(
    content: Any, *, finish: str = "stop", tokens: tuple[int, int] = (1000, 50), **message: Any
) -> dict:
    """The body of a good response."""
    text = content if isinstance(content, (str, type(None), list)) else json.dumps(content)
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]},
    }


class ChatServer:
    """Answers with questions in the words of the pages it is shown; use it with ``with``.

    Args:
        texts: SHA-256 of a page image -> the words of the page.
        behave: asked first; None lets the server answer well.
    """

    def __init__(self, texts: Mapping[str, str], behave: Behaviour | None = None) -> None:
        self.texts = dict(texts)
        self.behave = behave
        self.seen: list[Seen] = []
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        parts = body["messages"][1]["content"]
        images = tuple(
            hashlib.sha256(base64.b64decode(part["image_url"]["url"].split(",", 1)[1])).hexdigest()
            for part in parts
            if part["type"] == "image_url"
        )
        with self._lock:
            seen = Seen(len(self.seen), body, dict(handler.headers), handler.path, images, time.monotonic())
            self.seen.append(seen)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            reply = (self.behave(seen) if self.behave else None) or Reply(completion(self.good(seen)))
            time.sleep(reply.delay)
            self._send(handler, reply)
        finally:
            with self._lock:
                self.under_way -= 1

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.reset:
            # With a linger time of zero, closing sends RST in place of an orderly end.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if not reply.drip:
            handler.wfile.write(data)
            return
        for position in range(len(data)):
            handler.wfile.write(data[position : position + 1])
            handler.wfile.flush()
            time.sleep(reply.drip)

    def good(self, seen: Seen) -> dict[str, Any]:
        """Questions in the words of the pages, one per kind asked for; a check is always passed."""
        if seen.is_check:
            return {"answerable": True, "answer": "yes"}
        words = " ".join(self.texts[image] for image in seen.images).split()
        kinds = (
            ["multi-page"]
            if len(seen.images) > 1
            else [kind for kind in ("fact", "lookup", "chart", "topic") if f"- {kind}:" in seen.said]
        )
        ways = {
            "fact": "Who made the",
            "lookup": "How high was the",
            "chart": "Which rose fastest among",
            "topic": "",
        }
        return {
            "questions": [
                {
                    "kind": kind,
                    "language": "en",
                    "question": f"{ways.get(kind, 'What joins')} {' '.join(words[place::4])}".strip(),
                    "answer": words[place % len(words)],
                }
                for place, kind in enumerate(kinds)
            ]
        }


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
