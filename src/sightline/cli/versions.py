"""`sightline versions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sightline.search.versions import VersionFacts


def versions(
    index: Annotated[str, typer.Argument(help="Folder of the index, or s3://BUCKET/PREFIX.")],
    use: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Open this one: its name, the beginning of it, or previous."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Delete all but the open version and the newest others."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the versions as JSON.")] = False,
) -> None:
    """List the versions of an index, open another one, or delete old ones.

    A switch takes one step and disturbs no search; a running `sightline serve` follows it by itself.
    """
    from sightline.cli.console import notes, results, write_json
    from sightline.search.versions import list_versions, prune_versions, use_version

    console = notes()
    if use is not None:
        console.print(f"{use_version(index, use)} is open now", markup=False)
    if keep is not None:
        deleted = prune_versions(index, keep)
        console.print(f"deleted: {', '.join(deleted) or 'nothing'}", markup=False)
    found = list_versions(index)
    if as_json:
        write_json([_as_json(one) for one in found])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("version", "", "built (UTC)", "pages", "documents", "dimensions", "MB", "model"):
        table.add_column(
            title, justify="right" if title in ("pages", "documents", "dimensions", "MB") else "left"
        )
    for one in found:
        table.add_row(*_cells(one))
    results().print(table)
    for one in found:
        if one.problem:
            console.print(one.problem, markup=False, soft_wrap=True)


def _cells(one: VersionFacts) -> list[str]:
    state = "open" if one.is_open else "before" if one.is_previous else ""
    size = f"{one.size / 1e6:,.1f}"
    facts = one.facts
    if facts is None:
        return [one.version, "damaged", "", "", "", "", size, ""]
    built = facts.created[:16].replace("T", " ")
    numbers = [f"{facts.pages:,}", f"{facts.documents:,}", str(facts.dim)]
    return [one.version, state, built, *numbers, size, facts.model or facts.fingerprint[:8]]


def _as_json(one: VersionFacts) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(one)
