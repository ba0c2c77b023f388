"""The search page as a person meets it: a real service, a browser that notices what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from sightline.search.pages import PageRecord

# Names and texts as hostile as files may be: nothing of it is markup.
HOSTILE = '<img src=x onerror="window.hacked=1">.pdf'
DOCUMENTS = {
    "annual-report-2019.pdf": (
        "Operating costs of the northern plants rose by four percent.",
        "Turbines and grids.",
    ),
    "pump-manual.pdf": ("Replace the seal of the pump every 400 hours.", "Valves open against the pressure."),
    HOSTILE: ("<b>bold</b> seals & valves <script>window.hacked=1</script>", "The second hostile page."),
    **{
        f"letter-{number:02}.pdf": (f"A letter about the pump, number {number}.", "Yours.")
        for number in range(9)
    },
}
SIZE = (420, 594)


def page_records(folder: Path) -> list[PageRecord]:
    """Pages with drawn images, two per document; the last document is a scan without text."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (document, texts) in enumerate([*DOCUMENTS.items(), ("scan.pdf", ("", ""))]):
        for page, text in enumerate(texts):
            image = Image.new("RGB", SIZE, "white")
            pen = ImageDraw.Draw(image)
            pen.rectangle((30, 30, 390, 90), fill=((37 * number) % 200, (91 * number) % 200, 120))
            for line in range(12):
                pen.rectangle(
                    (30, 120 + 30 * line, 200 + (number * 53 + line * 71) % 180, 132 + 30 * line), fill="#bbb"
                )
            path = folder / f"{number}-{page}.png"
            image.save(path)
            records.append(PageRecord(f"{document}#p{page}", document, page, text, path, *SIZE))
    return records


class Visit:
    """A browser page on the site.

    Attributes:
        page: Playwright's page.
        troubles: what the browser complained of.
        elsewhere: addresses asked for outside the site.
    """

    def __init__(self, page: Any, site: str) -> None:
        self.page = page
        self.site = site
        self.troubles: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda message: self._heard(message))
        page.on("request", lambda request: self._asked(request.url))

    def open(self, address: str = "") -> Any:
        """Goes to ``?...`` of the site; returns Playwright's page."""
        self.page.goto(f"{self.site}/{address}")
        return self.page

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.site, "data:", "blob:")):
            self.elsewhere.append(url)


@contextmanager
def visiting(
    browser: Any,
    site: str,
    *,
    width: int = 1280,
    height: int = 800,
    scheme: str = "light",
    expected: Sequence[str] = (),
) -> Iterator[Visit]:
    """A visit in a browser profile of its own, at whose end nothing may have gone wrong.

    Args:
        expected: parts of complaints that belong to the test, such as "429".
    """
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    visit = Visit(context.new_page(), site)
    try:
        yield visit
        visit.page.wait_for_load_state("networkidle")
        wrong = [line for line in visit.troubles if not any(part in line for part in expected)]
        assert wrong == []
        assert visit.elsewhere == []
        assert not visit.page.evaluate("window.hacked")
    finally:
        context.close()


def found(page: Any) -> list[str]:
    """Documents of the results, in order, once they are there."""
    page.wait_for_selector(".result:not(.waiting) .title")
    return page.locator(".result .title").all_text_contents()


def search(page: Any, words: str) -> list[str]:
    page.fill("#q", words)
    with page.expect_response("**/v1/search"):
        page.keyboard.press("Enter")
    return found(page)
