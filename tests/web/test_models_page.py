"""The models view in a real browser: the list, a run, runs beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from sightline.models.encoder import Encoder
from support.services import running, service_of
from support.site import Visit, visiting


def test_the_list_leads_to_a_run_and_its_report(visit: Visit) -> None:
    page = visit.open()
    page.get_by_role("link", name="Models").click()
    expect(page.locator(".run h2")).to_have_text(["stopped", "elsewhere", "second", "first"])
    stopped = page.locator(".run", has_text="stopped")
    expect(stopped).to_contain_text("Step 40 of 120 is saved")
    expect(stopped.locator("input")).to_be_disabled()

    page.get_by_role("link", name="second").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("second")
    expect(page.locator("#models-view .lead")).to_contain_text(
        "better than untuned: NDCG@10", ignore_case=True
    )
    expect(page.locator(".chart figcaption").first).to_have_text("Loss")
    expect(page.locator(".chart figcaption").nth(1)).to_have_text("NDCG@10 on held-out questions")
    expect(page.locator(".recipe")).to_contain_text("learning_rate = 0.0003")
    expect(page.get_by_role("region", name="Table of systems")).to_contain_text("fine-tuned")
    expect(page.get_by_role("region", name="Findings in the data")).to_contain_text("question is cut")
    page.locator(".chart .plot").first.hover()
    expect(page.locator(".chart .tip").first).to_contain_text("step")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report").click()
    expect(opened.value.locator("h1")).to_have_text("Report")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")


def test_runs_on_the_same_data_are_compared_and_others_are_not(visit: Visit) -> None:
    page = visit.open("?view=models")
    page.get_by_label("Choose first to compare it").check()
    page.get_by_label("Choose second to compare it").check()
    expect(page.locator(".compare-bar")).to_contain_text("2 runs on the same data")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 runs compared")
    table = page.get_by_role("region", name="Table of runs")
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(table.locator(".tag")).to_have_count(1)
    expect(page.get_by_role("region", name="Settings that differ")).to_contain_text("training.learning_rate")
    assert page.locator(".chart .line").count() == 4

    visit.open("?view=models&run=first&run=elsewhere")
    expect(page.get_by_role("alert").first).to_contain_text("These figures cannot be compared")
    expect(table.locator("tbody tr")).to_have_count(2)
    assert table.locator(".tag, .plot").count() == 0


def test_a_service_without_runs_says_how_to_show_them(
    browser: Any, index: Any, tiny_encoder: Callable[[str], Encoder]
) -> None:
    with (
        running(service_of(index, tiny_encoder("clip"))) as address,
        visiting(browser, address, expected=("404",)) as visit,
    ):
        page = visit.open("?view=models")
        expect(page.locator("#models-view")).to_contain_text("sightline serve INDEX --runs runs")
        page.get_by_role("link", name="Search", exact=True).click()
        expect(page.locator(".cover").first).to_be_visible()
