"""Around every request: its id, its line in the log, its figures, and the headers of every answer."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.serving.errors import as_api_error, error_response
from sightline.serving.metrics import Metrics
from sightline.serving.settings import Settings

_log = logging.getLogger("sightline.requests")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# Where the API lives; everything else is the page, and what operators ask for.
API = ("/v1/", "/v2/")
SECURITY = {
    # Scripts and styles come from files of ours; pictures may also be dropped in or fetched with a key.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Observe:
    """ASGI middleware, the outermost: what goes wrong inside becomes an answer in the shape of all errors."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, settings: Settings) -> None:
        self.app = app
        self._metrics = metrics
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status, begun = 499, False  # 499: the client left before there was an answer
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(API):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        self._metrics.begin()
        try:
            await self.app(scope, receive, sending)
        except Exception as error:
            if begun:
                raise
            await error_response(as_api_error(error), request_id)(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - started
            route = _route(scope)
            self._metrics.end(route, scope["method"], status, seconds)
            facts = {
                "request_id": request_id,
                "method": scope["method"][:16],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 2),
                **scope["state"].get("log", {}),
            }
            _log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra=facts)


def _route(scope: Scope) -> str:
    """The pattern of the path that was asked for; paths themselves would fill the figures and the log."""
    route = scope.get("route")
    if route is None:
        return "other"
    prefix = next((known for known in API if scope["path"].startswith(known)), "/")
    return prefix + str(route.path).removeprefix(prefix).lstrip("/")
