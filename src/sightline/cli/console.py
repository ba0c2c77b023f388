"""Where commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.evaluation.rows import Row
    from sightline.runs.outcome import Outcome

# A table that is piped into a file or another program is not cut to some terminal's width.
_PIPED_WIDTH = 160


def results() -> Console:
    """The console for what the command was asked for."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def notes() -> Console:
    """The console for progress, notes and warnings."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def is_main_process() -> bool:
    """Whether this process is the one to talk to people, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def show_results(console: Console, outcome: Outcome) -> None:
    """The table of an evaluation and what it says in words."""
    from sightline.evaluation.summary import render_table, summarize

    console.print(render_table(outcome.rows))
    for sentence in summarize(outcome.rows, outcome.comparisons):
        console.print(sentence, markup=False, soft_wrap=True)


def show_sizes(console: Console, rows: Sequence[Row]) -> None:
    """A table per model of the ways to keep its vectors, where several were measured."""
    from sightline.evaluation.tables import cells_table

    for row in rows:
        if row.result.cells:
            console.print(cells_table(row).rich(title=f"\n{row.label}: quality against size"))


def show_breakdown(console: Console, row: Row) -> None:
    """A system's scores by kind of question, language and so on, where that is known."""
    from sightline.evaluation.tables import breakdown_table

    table = breakdown_table(row)
    if table is not None:
        console.print(table.rich(title=f"\n{row.label}, by group of questions"))


def check_place(path: Path) -> None:
    """Fail before the measuring, not after it, where results could not be written.

    Raises:
        OSError: the folder cannot be made.
        ConfigError: `path` is a folder, or its folder is not for us to write in.
    """
    from sightline.errors import ConfigError

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path.parent}: no permission to write there; name another place")


def words_of(text: str) -> list[str]:
    """``"a, b"`` -> ``["a", "b"]``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers_of(text: str, option: str) -> list[int]:
    """``"10,50"`` -> ``[10, 50]``.

    Raises:
        BadParameter: something that is no whole number above 0.
    """
    import typer

    wrong = [part for part in words_of(text) if not part.isdecimal() or int(part) < 1]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no whole number above 0", param_hint=option)
    return [int(part) for part in words_of(text)]


def write_json(value: Any) -> None:
    """`value` as indented JSON on stdout, not wrapped or coloured."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
