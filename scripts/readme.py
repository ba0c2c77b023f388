"""Writes what README.md tells of `make demo` from a finished run: its table, its figures, the picture of the report.

    make demo
    python scripts/screenshots.py
    python scripts/readme.py [runs/demo] [--no-picture]

The figures are kept in docs/images/demo.json, and a test holds README.md to them: they change by running this after
a run, or not at all. The picture is taken in Chromium by Playwright (extra `test`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
KEPT = ROOT / "docs" / "images" / "demo.json"
PICTURE = ROOT / "docs" / "images" / "report.png"
SEARCH = ROOT / "docs" / "images" / "search.png"  # scripts/screenshots.py takes it
# Marks in README.md: what stands between each and the end is written here.
TOP, DEMO = "<!-- picture, by scripts/readme.py -->", "<!-- figures, by scripts/readme.py -->"
END = "<!-- end -->"
_REPORT = f"![The report of `make demo`: the verdict in words, the table before and after]({PICTURE.relative_to(ROOT)})"
_SEARCH = (
    f"![The search page over the demo's documents: pages found for a question]({SEARCH.relative_to(ROOT)})"
)
NAMES = {"bm25": "BM25", "untuned": "untuned model", "fine-tuned": "fine-tuned model"}
VIEWS = {"text": "text layer", "image": "image", "both": "both"}
METRICS = ("ndcg@10", "map", "recall@10")
WIDTH, HEIGHT, SCALE = 1_100, 1_060, 1.25
CHROMIUM = Path("/usr/bin/chromium")


def figures_of(run: Path) -> dict[str, Any]:
    """What README.md tells of a run.

    Args:
        run: the folder of a finished `sightline demo`.
    """
    from sightline.documents.dataset import Dataset

    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    dataset = Dataset.load(run / "dataset")
    last = results["rows"][-1]
    lead = next(
        one
        for one in results["comparisons"]
        if one["after"] == {"name": last["name"], "fields": last["fields"]}
        and one["before"]["name"] == "untuned"
    )
    return {
        "documents": len(dataset.documents),
        "questions": len(dataset.all_questions),
        "trained_pages": sum(
            document.page_count for document in dataset.documents if document.split == "train"
        ),
        "held_out": {name: results["facts"][name] for name in ("questions", "pages", "documents")},
        "rows": [
            {"name": row["name"], "fields": row["fields"]}
            | {name: round(row[name], 3) for name in (*METRICS, *_cut(row)) if name in row}
            for row in results["rows"]
        ],
        "lead": {name: round(lead[name], 3) for name in ("difference", "low", "high")},
    }


def written(readme: str, figures: dict[str, Any]) -> str:
    """README.md with its parts as they should be: the search page on top where there is a picture of it."""
    searched = SEARCH.exists()
    told = block(figures) + (f"\n\n{_REPORT}" if searched else "")
    for mark, part in ((TOP, _SEARCH if searched else _REPORT), (DEMO, told)):
        before, rest = readme.split(mark)
        _, after = rest.split(END, 1)
        readme = f"{before}{mark}\n\n{part}\n\n{END}{after}"
    return readme


def block(figures: dict[str, Any]) -> str:
    """The demo in words and figures."""
    dims = sorted({int(name.split("@")[2]) for row in figures["rows"] for name in _cut(row)}, reverse=True)[
        1:
    ]
    heads = ["", "pages seen as", "NDCG@10", "MAP", "Recall@10"]
    heads += (
        [f"NDCG@10 at {dims[0]}", *map(str, dims[1:-1]), f"{dims[-1]} dimensions"] if len(dims) > 1 else []
    )
    lines = [f"| {' | '.join(heads)} |".replace("|  |", "| |"), "|" + "---|" * len(heads)]
    for row in figures["rows"]:
        cells = [NAMES[row["name"]], VIEWS[row["fields"]]]
        cells += [_score(row.get(name)) for name in (*METRICS, *(f"ndcg@10@{dim}" for dim in dims))]
        last = row is figures["rows"][-1]
        lines.append("| " + " | ".join(f"**{cell}**" if last else cell for cell in cells) + " |")
    held, lead = figures["held_out"], figures["lead"]
    return "\n".join(
        [
            f"It typesets {figures['documents']} documents of a fictional group of companies (annual reports, slide "
            "decks, manuals, research reports, forms, scanned letters), asks "
            f"{figures['questions']:,} questions about them in the words of people who do not know the house language, "
            "fine-tunes a small model on two thirds of the documents, and measures on the others:",
            "",
            *lines,
            "",
            f"{held['questions']} questions over the {held['pages']} pages of {held['documents']} held-out documents. "
            f"Fine-tuned against untuned, both views: {lead['difference']:+.3f} NDCG@10, 95 % interval "
            f"{lead['low']:+.3f} to {lead['high']:+.3f} (paired bootstrap over whole documents). The image rows are as "
            "poor as they look: there is no pretrained image model to ship, so the demo's image tower starts from "
            f"random weights and sees no page but the {figures['trained_pages']} to train on. A pretrained "
            "vision-language model takes its place in "
            "[recipes/qwen3-vl-embedding-2b.toml](recipes/qwen3-vl-embedding-2b.toml).",
        ]
    )


def take_picture(report: Path, picture: Path) -> None:
    """The top of a report, light, as a browser shows it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM if CHROMIUM.exists() else None, args=["--no-sandbox"]
        )
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, color_scheme="light"
        )
        page.goto(report.resolve().as_uri())
        page.add_style_tag(content="nav { display: none }")
        page.screenshot(path=picture)
        browser.close()


def _cut(row: dict[str, Any]) -> list[str]:
    """Names of the primary metric at dimensions."""
    return [name for name in row if name.startswith("ndcg@10@")]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main() -> None:
    """Writes all of it."""
    arguments = [one for one in sys.argv[1:] if not one.startswith("-")]
    run = Path(arguments[0]) if arguments else ROOT / "runs" / "demo"
    figures = figures_of(run)
    KEPT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if "--no-picture" not in sys.argv:
        take_picture(run / "report.html", PICTURE)
    README.write_text(written(README.read_text(encoding="utf-8"), figures), encoding="utf-8")
    sys.stdout.write(f"written: {README}, {KEPT}\n")


if __name__ == "__main__":
    main()
