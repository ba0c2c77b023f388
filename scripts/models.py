"""Writes docs/models.md from what the tests found out about every architecture.

    scripts/models.py                  runs the tests that feed the table, and writes it
    scripts/models.py --check FACTS    says where docs/models.md differs from the facts of a test run

`make models` is the first; `make test` ends with the second.
"""

from __future__ import annotations

import argparse
import difflib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"
FACTS = ROOT / "build" / "model-facts.jsonl"

HEAD = """# Architectures

Written by `make models` from a test run; not edited by hand. Each architecture is a tiny random checkpoint with every
part of the real one and the real processor's class, built in the tests. **Loads**: from its folder, bare or with its
Sentence Transformers files; modalities and pooling are found. **Trains**: a step with finite gradients moves the
weights. **Saves**: the reloaded model gives the same vectors or scores. **Agrees**: with Sentence Transformers 6.2 on
the same files, within 1e-5.
"""
TASKS = {
    "embedding": "Embedding models",
    "late interaction": "Late interaction",
    "reranking": "Rerankers",
}
CHECKS = ("loads", "trains", "saves", "agrees")
MODALITIES = ("text", "image", "audio", "video", "message")

Row = tuple[str, str, str]


def page(facts: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown of docs/models.md.

    Args:
        facts: as written by ``pytest --model-facts``; those of one row are put together.
    """
    checks, notes = _together(facts)
    numbers: dict[str, int] = {}
    lines = [HEAD]
    for task, title in TASKS.items():
        rows = sorted((row for row in checks if row[0] == task), key=_order)
        if rows:
            head = "| architecture | inputs | " + " | ".join(CHECKS) + " |"
            lines += [f"## {title}\n", head, "|---|---|" + "---|" * len(CHECKS)]
        # Inputs of an architecture that came out alike share a line.
        alike: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
        for row in rows:
            cells = tuple("yes" if check in checks[row] else "no" for check in CHECKS)
            alike.setdefault((row[1], cells, tuple(sorted(notes.get(row, ())))), []).append(row[2])
        for (architecture, cells, why), inputs in alike.items():
            marks = "".join(f" [{numbers.setdefault(note, len(numbers) + 1)}]" for note in why)
            lines.append("| " + " | ".join((architecture, ", ".join(inputs) + marks, *cells)) + " |")
        lines += [""] if rows else []
    lines += [f"{number}. {note}." for note, number in numbers.items()]
    return "\n".join(lines).rstrip() + "\n"


def unexplained(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows in which a check is missing and nobody says why."""
    checks, notes = _together(facts)
    return [
        f"{architecture}, {modality} ({task}): not {', not '.join(missing)}"
        for (task, architecture, modality), found in sorted(checks.items())
        if (missing := [check for check in CHECKS if check not in found])
        and (task, architecture, modality) not in notes
    ]


def _together(facts: Sequence[Mapping[str, Any]]) -> tuple[dict[Row, set[str]], dict[Row, set[str]]]:
    """Checks and notes by row."""
    checks: dict[Row, set[str]] = {}
    notes: dict[Row, set[str]] = {}
    for fact in facts:
        row = (fact["task"], fact["architecture"], fact["modality"])
        checks.setdefault(row, set()).update(fact["checks"])
        if fact["note"]:
            notes.setdefault(row, set()).add(fact["note"])
    return checks, notes


def _order(row: Row) -> tuple[str, list[int], str]:
    parts = row[2].split("+")
    known = [MODALITIES.index(part) if part in MODALITIES else len(MODALITIES) for part in parts]
    return row[1].lower(), [len(parts) > 1, *known], row[2]


def read(path: Path) -> list[dict[str, Any]]:
    """The facts in a file, one JSON object per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Run the tests and write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", metavar="FACTS", type=Path, help="compare with a test run that was made")
    facts = parser.parse_args().check
    if facts is None:
        run = [sys.executable, "-m", "pytest", "-q", "-m", "models", f"--model-facts={FACTS}", "tests"]
        if subprocess.run(run, cwd=ROOT, check=False).returncode:
            sys.exit("the tests fail, so there is no table")
        found = read(FACTS)
        PAGE.write_text(page(found), encoding="utf-8")
    else:
        found = read(facts)
    if rows := unexplained(found):
        sys.exit("the tests give no reason (model_fact(..., note=)) for\n  " + "\n  ".join(rows))
    wanted, there = page(found), PAGE.read_text(encoding="utf-8")
    if wanted != there:
        names = (str(PAGE.relative_to(ROOT)), "the test run")
        sys.stdout.writelines(
            difflib.unified_diff(there.splitlines(True), wanted.splitlines(True), *names, n=0)
        )
        sys.exit("docs/models.md is not what the tests found: run `make models`")


if __name__ == "__main__":
    main()
