"""Where commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

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


def write_json(value: Any) -> None:
    """`value` as indented JSON on stdout, not wrapped or coloured."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
