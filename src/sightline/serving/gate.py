"""Before a request reaches a route: who asks, how much, how deep, how long."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.serving.errors import ApiError, error_response
from sightline.serving.observe import API
from sightline.serving.service import Service

# Without these a client that sends too much would see a broken connection and never the reason.
_LINGER_SECONDS = 1.0
_THREAD_BYTES = 1 << 16
# Linear on any bytes: a string that does not end reaches to the end of the text.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = re.compile(rb"[^\[\]{}]+")


class Gate:
    """ASGI middleware that refuses what goes beyond the limits of `Settings`, as early as it can be known."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self.app = app
        self._service = service
        self._settings = service.settings
        self._keys = [hashlib.sha256(key.encode()).digest() for key in service.settings.api_keys]
        self._running = 0
        self._waiting_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_host(headers)
        path = str(scope["path"])
        api = path.startswith(API)
        if (api or path == "/metrics") and scope["method"] != "OPTIONS":
            self._check_key(headers)
        if not api:
            await self.app(scope, receive, send)
            return
        if self._running >= self._settings.max_concurrent:
            raise ApiError(503, "too many requests at once; try again", code="overloaded", retry_after=1)
        self._running += 1
        body = _Body(self, scope, headers, receive)
        try:
            with self._service.lease():
                async with asyncio.timeout(self._settings.timeout_s) as limit:
                    await self._pass(scope, body, send)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ApiError(
                504,
                f"no answer within {self._settings.timeout_s:g} s; ask for less at a time",
                code="timeout",
            ) from error
        except ApiError as error:
            if error.status_code != 413:
                raise
            await _refuse(error, scope, body, send)
        finally:
            self._running -= 1
            self._waiting_bytes -= body.size

    async def _pass(self, scope: Scope, body: _Body, send: Send) -> None:
        """Let the request through; a client that goes away takes its request along."""
        body.check_declared()
        if body.multipart:
            await self.app(scope, body.stream, send)
            return
        await body.read()
        finished = False

        async def sending(message: Message) -> None:
            nonlocal finished
            await send(message)
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)

        work = asyncio.ensure_future(self.app(scope, body.replay, sending))
        gone = asyncio.ensure_future(body.until_gone())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not finished:
                work.cancel()
                await asyncio.wait((work,))
                return
            await work
        finally:
            for task in (work, gone):
                task.cancel()

    def take(self, size: int) -> None:
        """Account for ``size`` bytes of a body that are held from now on.

        Raises:
            ApiError: 503, all bodies together are too much.
        """
        self._waiting_bytes += size
        if self._waiting_bytes > self._settings.max_waiting_bytes:
            raise ApiError(503, "too much is being sent at once; try again", code="overloaded", retry_after=1)

    def limit(self, multipart: bool) -> int:
        """Most bytes of a body."""
        return self._settings.max_upload_bytes if multipart else self._settings.max_body_bytes

    async def check(self, body: bytes) -> None:
        """Refuse JSON that would cost too much to read."""
        depth, values = self._settings.max_json_depth, self._settings.max_json_values
        if len(body) > _THREAD_BYTES:
            await self._service.in_thread(check_json, body, depth, values)
        else:
            check_json(body, depth, values)

    def _check_host(self, headers: Headers) -> None:
        allowed = self._settings.allowed_hosts
        if allowed and _host(headers.get("host", "")) not in allowed:
            raise ApiError(
                421,
                "this service does not answer to that host name; its owner can allow it with --allow-host",
                code="wrong_host",
            )

    def _check_key(self, headers: Headers) -> None:
        if not self._keys:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        given = given or headers.get("x-api-key", "") or headers.get("api-key", "")
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        # All are compared, so that the time tells nothing.
        if not sum(hmac.compare_digest(digest, key) for key in self._keys):
            what = "the API key is not valid" if given else "this service needs an API key"
            raise ApiError(
                401, f"{what}; send it as `Authorization: Bearer KEY`", headers={"WWW-Authenticate": "Bearer"}
            )


class _Body:
    """The body of one request, read within limits."""

    def __init__(self, gate: Gate, scope: Scope, headers: Headers, receive: Receive) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self.multipart = kind == "multipart/form-data"
        self._json = kind == "application/json" or (
            kind.startswith("application/") and kind.endswith("+json")
        )
        self._gate, self._receive = gate, receive
        self._limit = gate.limit(self.multipart)
        self._declared = headers.get("content-length", "")
        self._content = b""
        self._given = self._ended = False
        self._gone = asyncio.Event()
        self.size = 0

    async def read(self) -> None:
        """The whole body into memory.

        Raises:
            ApiError: it is too large, of another type than JSON, or too deep.
        """
        chunks = []
        while not self._ended:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ApiError(400, "the request was cut off", code="cut_off")
            chunks.append(self._counted(message))
        self._content = b"".join(chunks)
        if not self._content:
            return
        # Forms and plain text can be sent by any web page without asking; JSON cannot.
        if not self._json:
            raise ApiError(415, "send JSON, with the header Content-Type: application/json")
        await self._gate.check(self._content)

    async def stream(self) -> Message:
        """The next piece of an upload."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._counted(message)
        return message

    async def throw_away(self, seconds: float) -> None:
        """Read what still comes, for so long at most."""
        end = time.monotonic() + seconds
        while not self._ended and (left := end - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self._receive(), left)
            except TimeoutError:
                return
            self._ended = message["type"] != "http.request" or not message.get("more_body", False)

    async def replay(self) -> Message:
        """The body that was read, then the client's leaving."""
        if self._given:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self._given = True
        return {"type": "http.request", "body": self._content, "more_body": False}

    async def until_gone(self) -> None:
        """Returns when the client has left, or has its answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()

    def check_declared(self) -> None:
        """Refuse a body that says it is too large.

        Raises:
            ApiError: 413.
        """
        if self._declared.isdecimal() and int(self._declared[:20]) > self._limit:
            raise self._too_large()

    def _counted(self, message: Message) -> bytes:
        chunk = bytes(message.get("body", b""))
        self.size += len(chunk)
        self._ended = not message.get("more_body", False)
        self._gate.take(len(chunk))
        if self.size > self._limit:
            raise self._too_large()
        return chunk

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than the limit of {self._limit:,} bytes")


def check_json(body: bytes, max_depth: int, max_values: int) -> None:
    """Whether JSON may be parsed: nesting and number of values, in time linear in its length.

    Raises:
        ApiError: 400, too deep or too many.
    """
    bare = _STRINGS.sub(b"", body)
    brackets = _NO_BRACKETS.sub(b"", bare)
    if bare.count(b",") + len(brackets) > max_values:
        raise ApiError(400, f"the JSON holds more than {max_values:,} values", code="json_too_large")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise ApiError(400, f"the JSON is nested more than {max_depth} levels deep", code="json_too_deep")


async def _refuse(error: ApiError, scope: Scope, body: _Body, send: Send) -> None:
    """Answer while the client still sends, and throw away what comes for a moment, so that it sees the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "more_body": True}
        await send(message)

    await error_response(error, scope["state"]["request_id"])(scope, body.stream, sending)
    await body.throw_away(_LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _host(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()
