"""A browser, and a service for it, for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.feedback.store import FeedbackStore
from sightline.models.encoder import Encoder
from support.made_runs import made_run, unfinished_run
from support.services import make_index, running, service_of
from support.site import Visit, page_records, visiting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(
    scope="module"
)  # while Playwright is there, no other test of this process can run an event loop
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium); .ci/run installs it")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="session")
def index(folder: Path, tiny_encoder: Callable[[str], Encoder]) -> Any:
    return make_index(folder, tiny_encoder("clip"), records=page_records(folder / "media"))


@pytest.fixture(scope="session")
def store(folder: Path) -> Iterator[FeedbackStore]:
    store = FeedbackStore(folder / "feedback.sqlite")
    yield store
    store.close()


@pytest.fixture(scope="session")
def site(
    folder: Path, index: Any, store: FeedbackStore, tiny_encoder: Callable[[str], Encoder]
) -> Iterator[str]:
    made_run(folder / "runs" / "first", noise=3.0, created="2026-01-01T10:00:00+00:00")
    made_run(folder / "runs" / "second", noise=1.0, rate=3e-4, created="2026-01-02T10:00:00+00:00")
    made_run(folder / "runs" / "elsewhere", data="letters", created="2026-01-03T10:00:00+00:00")
    unfinished_run(folder / "runs" / "stopped")
    service = service_of(index, tiny_encoder("clip"), runs=folder / "runs", feedback_store=store)
    with running(service) as address:
        yield address


@pytest.fixture
def visit(browser: Any, site: str) -> Iterator[Visit]:
    with visiting(browser, site) as visit:
        yield visit
