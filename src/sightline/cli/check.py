"""`sightline check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.documents.doctor.findings import Diagnosis

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def check(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATASET]",
            help="Folder made by `sightline ingest`, or a table (folder or file of Parquet, JSON lines, CSV); "
            "by default what the recipe names.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check what this recipe trains on, against its model."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of the recipe to change; repeatable."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Columns of a table: question, answer, documents that do not answer, labels; "
            "by default known by their names.",
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            help="With --recipe, load the model and measure a few steps, for the time and memory of all of them.",
        ),
    ] = True,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Write a cleaned copy to this new folder, and say what is left out."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where there are warnings and no errors.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes; by default one per CPU core.", min=1)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the findings as JSON to a file; - for stdout."),
    ] = None,
) -> None:
    """Find out what is wrong with a dataset before training on it.

    Exits with 0 where there are no errors, with 1 where there are; with --strict with 3 for warnings. With --fix the
    exit code is that of the cleaned copy.
    """
    from sightline.cli.console import results, write_json
    from sightline.cli.models import quiet_transformers
    from sightline.config.load import load_recipe
    from sightline.errors import ConfigError

    if overrides and recipe is None:
        raise ConfigError("--set changes keys of a recipe; give one with --recipe")
    plan = None if recipe is None else load_recipe(recipe, overrides or ())
    quiet_transformers()
    from sightline.runs.check import check_data

    names = [name.strip() for name in columns.split(",")] if columns else []
    with _progress() as tell:
        checked = check_data(data, recipe=plan, columns=names, estimate=estimate, workers=workers, tell=tell)
    diagnosis = checked.diagnosis
    if output == "-":
        write_json(diagnosis.to_json())
    else:
        show(results(), diagnosis)
        if output is not None:
            from sightline.files import write_json as replace_json

            replace_json(output, diagnosis.to_json())
    if fix is not None:
        cleaning = checked.fix(fix)
        typer.echo(f"{fix}: a copy without {cleaning.summary()}; see {fix / 'removed.jsonl'}", err=True)
        diagnosis = check_data(
            fix, columns=names if checked.contents.table else (), workers=workers
        ).diagnosis
        typer.echo(diagnosis.summary(), err=True)
    if code := diagnosis.exit_code(strict=strict):
        raise typer.Exit(code)


def show(console: Console, diagnosis: Diagnosis) -> None:
    """The findings as a table, the worst first, and a line that sums them up."""
    from rich.table import Table
    from rich.text import Text

    if diagnosis.findings:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("", "found", "count", "for example", "what to do"):
            table.add_column(name, justify="right" if name == "count" else "left", overflow="fold")
        for one in diagnosis.findings:
            table.add_row(
                Text(one.severity, style=_COLOURS[one.severity]),
                Text(one.title),
                f"{one.count:,}",
                Text(f"{one.where}: {one.message}"),
                Text(one.advice, style="dim"),
            )
        console.print(table)
        console.print()
    console.print(Text(diagnosis.summary()), soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Counts the images on standard error where somebody is looking."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from sightline.cli.console import notes

    columns = (TextColumn("Looking at images: {task.completed:,.0f}"), TimeElapsedColumn())
    console = notes()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("", total=None)
        yield lambda count: bar.update(shown, advance=count)
