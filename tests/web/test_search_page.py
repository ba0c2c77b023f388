"""The search page in a real browser over a real service: whole journeys, every state, every key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from sightline.feedback.store import FeedbackStore
from support.site import DOCUMENTS, HOSTILE, SIZE, Visit, found, search


def test_from_the_shelf_to_a_page_and_back(visit: Visit) -> None:
    page = visit.open()
    expect(page.locator("h1")).to_have_text("Search your documents")
    expect(page.locator("#hero-told")).to_contain_text(
        f"{2 * (len(DOCUMENTS) + 1)} pages in {len(DOCUMENTS) + 1} documents"
    )
    expect(page.locator(".cover")).to_have_count(len(DOCUMENTS) + 1)
    expect(page.locator(".cover img.there").nth(5)).to_be_visible()

    names = search(page, "seal of the pump")
    assert len(names) == 10
    assert "pump-manual.pdf" in names
    # The vectors are those of random weights: the order is the service's, whatever it is.
    served = page.request.post(f"{visit.site}/v1/search", data={"query": "seal of the pump"}).json()
    assert names == [hit["document"] for hit in served["hits"]]
    first = page.locator(".result", has_text="Replace the seal").first
    expect(first.locator(".page-number")).to_have_text("Page 1 of 2")
    assert "pump" in first.locator("mark").all_inner_texts()
    expect(page.locator("#found-count")).to_contain_text("10 pages in")
    expect(page.locator("#live")).to_contain_text("10 pages found")
    assert page.locator(".timing-bar i").count() >= 3
    assert "q=seal+of+the+pump" in page.url

    # The address is all there is: another browser sees the same, and back leads to the shelf.
    page.reload()
    assert found(page) == names
    page.go_back()
    expect(page.locator(".cover").first).to_be_visible()
    expect(page.locator("#q")).to_have_value("")


def test_filters_narrow_the_search_and_can_be_taken_away(visit: Visit) -> None:
    page = visit.open("?q=pump")
    found(page)
    page.fill(".filter-search", "annual")
    expect(page.locator(".choice:visible")).to_have_count(1)
    with page.expect_response("**/v1/search"):
        page.locator(".choice:visible input").check()
    assert set(found(page)) == {"annual-report-2019.pdf"}
    expect(page.locator(".chip")).to_contain_text("annual-report-2019.pdf")
    page.locator(".chip button").click()
    expect(page.locator(".result")).to_have_count(10)

    # By words: what no page says is said to be nowhere, with the way out.
    page.locator(".panel .segmented label", has_text="Words").click()
    search_box = page.locator("#q")
    search_box.fill("zzyzx")
    search_box.press("Enter")
    expect(page.locator("#state h2")).to_have_text("Nothing found")
    page.get_by_role("button", name="Search by meaning too").click()
    expect(page.locator(".result").first).to_be_visible()
    assert "mode" not in page.url


def test_all_of_it_by_keyboard(visit: Visit) -> None:
    page = visit.open()
    expect(page.locator(".cover").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("pump")
    page.keyboard.press("Enter")
    names = found(page)
    page.keyboard.press("Escape")
    focused = "document.activeElement.closest('.result')?.dataset.page ?? document.activeElement.id"
    ids = page.locator(".result").evaluate_all("all => all.map(one => one.dataset.page)")
    assert page.evaluate(focused) == ids[0]
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == ids[2]
    page.keyboard.press("k")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()

    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_have_text(names[1])
    expect(page.locator(".viewer-told p")).to_contain_text("result 2")
    page.wait_for_selector(".sheet-held img.there")
    before = page.locator(".viewer-told p").inner_text()
    page.keyboard.press("n" if before.startswith("Page 1") else "p")
    expect(page.locator(".viewer-told p")).not_to_have_text(before)
    page.keyboard.press("j")
    expect(page.locator(".viewer-told p")).to_contain_text("result")
    page.wait_for_selector(".sheet-held img.there")
    page.wait_for_load_state("networkidle")
    zoom = page.locator("#viewer .zoom output")
    fitted = zoom.inner_text()
    page.keyboard.press("+")
    expect(zoom).not_to_have_text(fitted)
    page.keyboard.press("0")
    expect(zoom).to_have_text(fitted)
    for _ in range(20):  # nothing outside the dialog is reached
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('#viewer')"
        )
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()


def test_the_viewer_shows_text_heat_and_neighbours(visit: Visit) -> None:
    page = visit.open("?q=seal+of+the+pump&page=pump-manual.pdf%23p0")
    expect(page.locator(".side-text")).to_have_text("Replace the seal of the pump every 400 hours.")
    page.wait_for_selector(".sheet-held img.there")
    assert page.evaluate("document.querySelector('.sheet-held img').naturalWidth") == SIZE[0]
    expect(page.get_by_role("button", name="Page before")).to_be_hidden()
    page.locator(".stage").hover()
    zoom = page.locator("#viewer .zoom output")
    fitted = zoom.inner_text()
    page.mouse.wheel(0, -400)
    expect(zoom).not_to_have_text(fitted)
    page.get_by_role("button", name="Whole page").click()

    with page.expect_response("**/v1/heatmap") as heat:
        page.keyboard.press("h")
    answer = heat.value.json()
    expect(page.locator(".legend-card")).to_contain_text(re.compile(answer["method"], re.IGNORECASE))
    painted = page.evaluate(
        "(() => { const c = document.querySelector('.sheet-held canvas');"
        " const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return [c.width, c.height, data.some(value => value > 0)] })()"
    )
    assert painted == [answer["width"], answer["height"], True]
    assert "heat=1" in page.url
    page.get_by_role("button", name="Page after").click()
    expect(page.locator(".side-text")).to_have_text("Valves open against the pressure.")
    page.keyboard.press("t")
    expect(page.locator(".side-text")).to_be_hidden()
    page.keyboard.press("Escape")
    page.go_back()
    expect(page.locator("#viewer")).to_be_visible()


def test_names_and_texts_of_files_are_never_markup(visit: Visit) -> None:
    page = visit.open("?q=bold+seals&mode=text")
    assert HOSTILE in found(page)
    expect(page.locator(".snippet").first).to_contain_text("<b>bold</b>")
    page.locator(".result", has_text=HOSTILE).locator(".title").first.click()
    expect(page.locator("#viewer-title")).to_have_text(HOSTILE)
    expect(page.locator(".side-text")).to_contain_text("<script>")


def test_an_image_is_a_question_too(visit: Visit, folder: Path) -> None:
    page = visit.open()
    expect(page.locator(".cover").first).to_be_visible()
    with page.expect_request("**/v1/search") as asked:
        page.set_input_files("#picture-file", folder / "media" / "1-0.png")
    body = json.loads(asked.value.post_data)
    assert body["query"] is None
    assert body["image"].startswith("data:image/jpeg;base64,")
    assert found(page)
    expect(page.locator("#picture-shown")).to_be_visible()
    page.reload()  # this tab still has it
    assert found(page)
    page.get_by_role("button", name="Take the image away").click()
    expect(page.locator(".cover").first).to_be_visible()
    page.goto(f"{visit.site}/?image=of-somebody-else")
    expect(page.locator("#state h2")).to_have_text("This search was made with an image")


def test_marks_and_clicks_reach_the_store(visit: Visit, store: FeedbackStore) -> None:
    page = visit.open()
    with page.expect_response("**/v1/search") as response:
        page.fill("#q", "pump")
        page.keyboard.press("Enter")
    answer = response.value.json()
    pages = [hit["page_id"] for hit in answer["hits"]]
    result = page.locator(".result").nth(1)
    for name in ("Relevant", "Not relevant"):
        with page.expect_response("**/v1/feedback"):
            result.get_by_role("button", name=name, exact=True).click()
    expect(result.get_by_role("button", name="Not relevant")).to_have_attribute("aria-pressed", "true")
    expect(result.get_by_role("button", name="Relevant", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )
    with page.expect_response("**/v1/feedback"):
        page.locator(".result .title").first.click()
    page.keyboard.press("Escape")
    with page.expect_response("**/v1/feedback"):
        page.get_by_role("button", name="None of these").click()
    marks = {(mark.page_id, mark.kind) for mark in store.marks(answer["id"])}
    assert marks == {(pages[1], "not_relevant"), (pages[0], "click"), (None, "none_relevant")}
    # A tab is one session, so that searching twice is not two voices.
    with page.expect_response("**/v1/search") as again:
        page.reload()
    sessions = {one.id: one.session for one in store.searches()}
    assert len(sessions[answer["id"]]) == 32
    assert sessions[again.value.json()["id"]] == sessions[answer["id"]]


def test_people_see_what_a_setting_trades(visit: Visit) -> None:
    """The service is made to offer less dimensions and a reranker; what the page does with them is its own."""
    asked: list[dict[str, Any]] = []

    def offered(route: Any) -> None:
        answer = route.fetch().json()
        route.fulfill(json={**answer, "dimensions": [32, 16, 8], "reranker": "some/reranker"})

    def answered(route: Any) -> None:
        body = json.loads(route.request.post_data)
        asked.append(body)
        plain = {**body, "dimensions": None, "rerank": None}
        answer = route.fetch(post_data=json.dumps(plain)).json()
        if body["dimensions"]:
            answer["hits"] = [*answer["hits"][2:], {**answer["hits"][0], "page_id": "scan.pdf#p1"}]
            answer["hits"] = [{**hit, "rank": rank} for rank, hit in enumerate(answer["hits"], start=1)]
        timings = {"encode": 3.0, "vector": 2.1 if body["dimensions"] else 3.4, "total": 9.0}
        reranked = body["rerank"] is not False
        route.fulfill(
            json={**answer, "dimensions": body["dimensions"] or 32, "timings": timings, "reranked": reranked}
        )

    visit.page.route("**/v1/index", offered)
    visit.page.route("**/v1/search", answered)
    page = visit.open("?q=pump")
    found(page)
    expect(page.locator("#trade")).to_be_hidden()
    page.locator("#dims").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#trade")).to_contain_text("8 of 9 pages are the same as at 32 dimensions")
    expect(page.locator("#trade")).to_contain_text("Comparing vectors took 2.1 ms instead of 3.4 ms")
    expect(page.locator(".moved.new")).to_have_count(1)
    assert asked[-1]["dimensions"] == 16
    assert "dims=16" in page.url
    page.get_by_role("switch", name="Rerank").uncheck()
    expect(page.locator("#trade")).to_contain_text("The same 9 pages in the same order as with the reranker")
    assert asked[-1]["rerank"] is False
    page.locator("#balance").fill("0.8")
    expect(page.locator("#trade")).to_contain_text("with the balance before")
    assert asked[-1]["weights"] == {"vector": pytest.approx(1.6), "text": pytest.approx(0.4)}
    page.locator("#q").fill("valves")
    page.keyboard.press("Enter")
    expect(page.locator("#trade")).to_be_hidden()  # another question: nothing to compare with
