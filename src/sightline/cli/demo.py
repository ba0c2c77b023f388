"""`sightline demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the demo writes everything.")
    ] = Path("runs/demo"),
) -> None:
    """Make documents, fine-tune a model on them, measure it, search.

    Takes some minutes on two CPU cores and downloads nothing.
    """
    from sightline.cli.console import results
    from sightline.cli.models import quiet_transformers
    from sightline.demo.run import run_demo

    quiet_transformers()
    run_demo(output, console=results())
