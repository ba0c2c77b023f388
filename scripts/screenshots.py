"""Takes the README's pictures of the search page from the real service over the demo's index.

    scripts/screenshots.py [RUN]       RUN is the folder that `make demo` wrote, by default runs/demo

Writes docs/images/search.png, viewer.png and models.png. Needs Chromium and Playwright, which `make test` installs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
QUESTION = "Geographic split of our train door firm's sales"
SIZE = {"width": 1280, "height": 800}


def shoot(browser: Any, site: str, folder: Path, *, question: str, run: str) -> list[Path]:
    """Three pictures of a running service.

    Args:
        browser: Playwright's.
        site: address of the service.
        folder: where the pictures go.
        question: what is searched for.
        run: name of the run whose page is shown.
    """
    made = []
    context = browser.new_context(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()

    def take(name: str) -> None:
        page.wait_for_load_state("networkidle")
        path = folder / name
        page.screenshot(path=path)
        made.append(path)

    address = f"{site}/?{urlencode({'q': question})}"
    page.goto(address)
    page.wait_for_selector(".result img.there")
    sizes = page.locator("#dims + .ticks span").all_inner_texts()
    # Each search once before the picture: its files are open then, and the times are those of every day.
    for again in [*(f"{address}&dims={size}" for size in sizes[:1]), address]:
        page.goto(again)
        page.wait_for_selector(".result img.there")
    if sizes:  # where vectors can be cut: what that changes
        page.locator("#dims").fill("0")
        page.wait_for_selector("#trade:visible")
    take("search.png")

    page.locator(".result .title").first.click()
    page.wait_for_selector(".sheet-held img.there")
    take("viewer.png")

    page.goto(f"{site}/?{urlencode({'view': 'models', 'run': run})}")
    page.wait_for_selector("#models-view h1")
    take("models.png")
    context.close()
    return made


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of `sightline serve` over a demo's index."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "sightline.cli.main", "serve", str(run / "index"), "--port", "0"),
            *(
                "--model",
                str(run / "final"),
                "--runs",
                str(run.parent),
                "--feedback",
                f"{folder}/feedback.sqlite",
            ),
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stderr is not None
        try:
            said = ""
            for line in process.stderr:
                said += line
                if address := re.search(r"Search page\s+(http://\S+?)/?\s", line):
                    yield address[1]
                    return
            raise SystemExit(f"the service did not start:\n{said}")
        finally:
            process.terminate()
            process.wait(60)


def main() -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=ROOT / "runs" / "demo")
    run = parser.parse_args().run.resolve()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright, served(run) as site:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for path in shoot(browser, site, IMAGES, question=QUESTION, run=run.name):
            print(path.relative_to(ROOT))
        browser.close()


if __name__ == "__main__":
    main()
