"""The search page and its parts."""

from __future__ import annotations

from pathlib import Path

from starlette.staticfiles import StaticFiles

WEB = Path(__file__).parent / "web"


def files() -> StaticFiles:
    """What lies in ``web/``; nothing outside it, whatever the path says."""
    return StaticFiles(directory=WEB, html=True)
