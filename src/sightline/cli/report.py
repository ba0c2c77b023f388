"""`sightline report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[
        Path,
        typer.Argument(help="Folder of a finished run, or a results.json of `train`, `eval` or `compare`."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="By default report.html beside the results."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where the pages are now, for their pictures, if they were moved."
        ),
    ] = None,
) -> None:
    """Write the report of results that were measured before; nothing is computed again."""
    from sightline.cli.console import check_place, notes
    from sightline.cli.console import results as shown
    from sightline.runs.rerender import saved_outcome

    found, why = saved_outcome(results, dataset=dataset)
    if why:
        notes().print(f"without pictures of pages: {why}", markup=False, soft_wrap=True)
    path = output or (results if results.is_dir() else results.parent) / "report.html"
    check_place(path)
    found.write_report(path)
    shown().print(f"written: {path}", markup=False, soft_wrap=True)
