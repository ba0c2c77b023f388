"""The search page when something is amiss, on every screen, and for everybody."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from PIL import Image
from playwright.sync_api import expect

from sightline.models.encoder import Encoder
from support.services import running, service_of
from support.site import Visit, found, search, visiting

KEY = "a-key-of-this-test-0001"


def test_a_newer_search_is_not_overtaken_by_an_older_one(visit: Visit) -> None:
    held: list[Any] = []
    visit.page.route(
        "**/v1/search",
        lambda route: held.append(route) if "slow" in route.request.post_data else route.continue_(),
    )
    page = visit.open()
    expect(page.locator(".cover").first).to_be_visible()
    page.fill("#q", "slow pump")
    page.keyboard.press("Enter")
    expect(page.locator(".result.waiting").first).to_be_visible()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    search(page, "seal")
    for route in held:
        route.abort()
    expect(page.locator(".result.waiting")).to_have_count(0)
    expect(page.locator(".result").first).to_be_visible()
    expect(page.locator("#state")).to_be_empty()


def refusal(status: int, message: str, **headers: str) -> dict[str, Any]:
    error = {"message": message, "type": "t", "code": "c", "param": None, "request_id": "ref-123"}
    return {"status": status, "headers": headers, "json": {"error": error}}


def test_busy_broken_and_offline_are_told_and_tried_again(browser: Any, site: str) -> None:
    with visiting(browser, site, expected=("429", "500", "ERR_FAILED", "ERR_INTERNET_DISCONNECTED")) as visit:
        page = visit.open()
        expect(page.locator(".cover").first).to_be_visible()
        trouble: list[dict[str, Any]] = [refusal(429, "too many", **{"retry-after": "1"})]
        page.route(
            "**/v1/search", lambda route: route.fulfill(**trouble.pop()) if trouble else route.continue_()
        )
        page.fill("#q", "pump")
        page.keyboard.press("Enter")
        expect(page.locator("#state h2")).to_have_text("Many people are searching")
        expect(page.locator(".result").first).to_be_visible()  # by itself, a second later

        trouble.append(refusal(500, "it broke"))
        page.fill("#q", "valves")
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_contain_text("it broke")
        expect(page.locator("#state")).to_contain_text("ref-123")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".result").first).to_be_visible()

        page.context.set_offline(True)
        page.fill("#q", "turbines")
        page.keyboard.press("Enter")
        expect(page.locator("#state h2")).to_have_text("You are offline")
        page.context.set_offline(False)
        expect(page.locator(".result").first).to_be_visible()  # by itself, when the connection is back


def test_a_key_is_asked_for_and_forgotten_with_the_tab(
    browser: Any, index: Any, tiny_encoder: Callable[[str], Encoder]
) -> None:
    with (
        running(service_of(index, tiny_encoder("clip"), api_keys=(KEY,))) as address,
        visiting(browser, address, expected=("401",)) as visit,
    ):
        page = visit.open("?q=pump")
        expect(page.locator("#key")).to_be_visible()
        page.fill("#key-input", "not-the-right-one")
        page.keyboard.press("Enter")
        expect(page.locator("#key-wrong")).to_have_text("The service does not know this key.")
        page.fill("#key-input", KEY)
        page.keyboard.press("Enter")
        assert found(page)
        expect(page.locator(".result img.there").first).to_have_attribute("src", re.compile("^blob:"))
        assert page.evaluate("localStorage.length + document.cookie.length") <= 1  # the layout, and no key
        assert KEY not in page.url
        assert page.locator(".judge").count() == 0  # this service keeps no feedback


VIEWS = {
    "": ".cover",
    "?q=pump": ".result .title",
    "?q=pump&page=pump-manual.pdf%23p0": ".sheet-held img.there",
    "?view=models": ".run",
    "?view=models&run=first": ".chart",
}
# What differs on a small dark screen; the rest is the same elements.
SMALL = ["color-contrast", "target-size", "scrollable-region-focusable", "meta-viewport"]


@pytest.mark.parametrize(("width", "scheme", "rules"), [(1280, "light", None), (375, "dark", SMALL)])
def test_every_view_fits_and_is_accessible(
    browser: Any, site: str, width: int, scheme: str, rules: list[str] | None
) -> None:
    """WCAG 2.2 AA and best practices, as far as axe-core can judge them; nothing sticks out of the screen."""
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    with visiting(browser, site, width=width, scheme=scheme) as visit:
        for address, there in VIEWS.items():
            page = visit.open(address)
            page.wait_for_selector(there)
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
            page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
            violations = page.evaluate("options => axe.run(document, options)", options)["violations"]
            told = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in violations]
            assert told == [], address
        if width < 900:
            page = visit.open("?q=pump")
            page.get_by_role("button", name="Filters").click()
            expect(page.locator("#sheet .choice").first).to_be_visible()


def test_the_chosen_colours_stay(visit: Visit) -> None:
    page = visit.open()
    shown = "document.documentElement.dataset.theme"
    assert page.evaluate(shown) == "light"
    for _ in range(2):  # as the system, light, dark
        page.locator("#theme").click()
    assert page.evaluate(shown) == "dark"
    page.reload()
    assert page.evaluate(shown) == "dark"


def test_the_pictures_of_the_readme_are_taken_from_the_real_page(
    browser: Any, site: str, tmp_path: Path
) -> None:
    script = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "screenshots.py"))
    made = script["shoot"](browser, site, tmp_path, question="seal of the pump", run="first")
    assert {path.name for path in made} == {"search.png", "viewer.png", "models.png"}
    for path in made:
        with Image.open(path) as picture:
            assert picture.size == (1280, 800)
            assert len(picture.convert("L").getcolors() or ()) > 20
