"""Writes docs/reference/ from the sources: the command line's own help and the fields of a recipe.

`make docs` runs it; a test fails when what is committed differs from what it would write.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
# Tables whose missing keys come from the checkpoint or from TrainingArguments.
_INHERITING = ("ModelConfig", "LossConfig", "TrainingConfig")
COMMANDS = (
    "demo", "ingest", "questions", "mine", "check", "train", "eval", "compare", "report", "convert", "export", "index",
    "versions", "remove", "search", "serve", "feedback", "feedback export", "feedback report", "feedback forget",
)  # fmt: skip


def cli_page() -> str:
    """The help of `sightline` and of each command, as Markdown."""
    from typer.testing import CliRunner

    from sightline.cli.main import app

    lines = ["# Command line", "", "Written by `make docs` from `sightline --help`.", ""]
    # The width of the help is that of the terminal, up to 80 columns.
    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"})
    for command in ((), *(tuple(name.split()) for name in COMMANDS)):
        result = runner.invoke(app, [*command, "--help"], prog_name="sightline")
        title = " ".join(("sightline", *command))
        text = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
        lines += [f"## {title}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def recipes_page() -> str:
    """Every table and key of a recipe, with its default and meaning, as Markdown."""
    config = ROOT / "src" / "sightline" / "config"
    sources = [
        (config / name).read_text(encoding="utf-8")
        for name in ("recipe.py", "recipe_loss.py", "recipe_more.py")
    ]
    lines = [
        "# Recipes",
        "",
        "Written by `make docs` from `src/sightline/config/recipe*.py`. A recipe is a TOML file;",
        "`sightline train RECIPE.toml table.key=value` changes keys for one run. A key without default is",
        "inherited when left out: from the checkpoint, or from `TrainingArguments`. A run prints at its",
        "start what was inherited, and `resolved.toml` in the run's folder has every value.",
        "",
    ]
    for node in [node for source in sources for node in ast.parse(source).body]:
        if not isinstance(node, ast.ClassDef) or node.name == "Recipe":
            continue
        lines += [
            f"## {ast.get_docstring(node, clean=True)}",
            "",
            "| key | type | default | |",
            "|---|---|---|---|",
        ]
        for field, note in zip(node.body, node.body[1:]):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(note, ast.Expr)
                and isinstance(note.value, ast.Constant)
            ):
                lines.append(_row(field, str(note.value.value), inherits=node.name in _INHERITING))
        lines.append("")
    return "\n".join(lines)


def _row(field: ast.AnnAssign, note: str, *, inherits: bool) -> str:
    name = ast.unparse(field.target)
    kind = (
        ast.unparse(field.annotation)
        .replace(" | None", "")
        .replace("View", "Literal['text', 'image', 'both']")
    )
    kind = re.sub(r"\b\w+Config\b", "table", kind)
    kind = re.sub(r"Literal\[([^\]]*)\]", r"\1", kind)
    default = "" if field.value is None else ast.unparse(field.value)
    shown = {
        "None": "inherited" if inherits else "",
        "field(default_factory=dict)": "",
        "field(default_factory=list)": "[]",
    }
    default = shown.get(default, "" if default.startswith("field(") else default.replace("'", '"').lower())
    key = "any other" if name == "others" else f"`{name}`"
    words = " ".join(note.split()).replace("|", "\\|")
    return f"| {key} | {kind.replace('|', 'or')} | {default} | {words} |"


def pages() -> dict[Path, str]:
    """Path -> text of every generated page."""
    return {REFERENCE / "cli.md": cli_page(), REFERENCE / "recipes.md": recipes_page()}


def main() -> None:
    """Write the pages, or with --check say which are out of date."""
    stale = []
    for path, text in pages().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(os.path.relpath(path, ROOT))
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stdout.write(
            ("out of date: " if "--check" in sys.argv else "written: ") + ", ".join(stale) + "\n"
        )
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
