"""The search page and its parts."""

from __future__ import annotations

from pathlib import Path

from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

WEB = Path(__file__).parent / "web"


class Whole:
    """ASGI application that answers with whole files: parts of them would have errors of another shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope.get("headers", []) if name.lower() != b"range"]
        await self.app({**scope, "headers": headers}, receive, send)


def files() -> ASGIApp:
    """What lies in ``web/``; nothing outside it, whatever the path says."""
    return Whole(StaticFiles(directory=WEB, html=True))
