"""`sightline index`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.search.index import SearchIndex


class View(StrEnum):
    """What of a page is embedded."""

    text = "text"
    image = "image"
    both = "both"


def index(
    dataset: Annotated[Path, typer.Argument(help="Folder made by `sightline ingest`.")],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="INDEX", help="Folder of the index, or s3://BUCKET/PREFIX."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Folder or name on the Hub; by default the index's own."
        ),
    ] = None,
    fields: Annotated[
        View | None, typer.Option(help="What of a page is embedded; by default all the model takes.")
    ] = None,
    dim: Annotated[int | None, typer.Option(metavar="N", min=1, help="Keep the first N dimensions.")] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add these documents to those of the index, or replace them there."),
    ] = False,
    no_switch: Annotated[
        bool,
        typer.Option("--no-switch", help="Build beside the open version; `sightline versions` opens it."),
    ] = False,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the index's facts as JSON.")] = False,
) -> None:
    """Embed every page of a dataset into an index for search.

    Pages the index has by the same model are not embedded again, those gone from the dataset are removed. A build
    that was stopped goes on where it was; the old version stays in use until the new one is complete.
    """
    from sightline.cli.models import load_model
    from sightline.documents.dataset import Dataset
    from sightline.errors import ConfigError
    from sightline.search.index import build_index, open_index, update_index
    from sightline.search.versions import open_version

    pages = Dataset.load(dataset)
    opened = open_index(output) if add or (model is None and open_version(output)) else None
    if add and (fields or dim):
        raise ConfigError("--add embeds as the index was built; leave out --fields and --dim")
    name = model or (opened.facts.model if opened else "")
    if not name:
        raise ConfigError(f"{output} does not say which model makes it; give it with --model")
    encoder = load_model(name, device)
    if add:
        built = update_index(output, encoder, add=pages, switch=not no_switch)
    else:
        # The path as it will be found from any folder, for `sightline search` to load the same model again.
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        built = build_index(
            output,
            pages,
            encoder,
            fields=fields.value if fields else None,
            dim=dim,
            model=place,
            switch=not no_switch,
        )
    show_built(
        built, output, as_json=as_json, opened=not no_switch or open_version(output) == built.facts.version
    )


def show_built(built: SearchIndex, output: str, *, as_json: bool, opened: bool) -> None:
    """What a build did and what there is now."""
    from dataclasses import asdict

    from sightline.cli.console import write_json

    assert built.changes is not None
    facts = built.facts
    if as_json:
        write_json({**asdict(facts), "changes": asdict(built.changes)})
        return
    empty = facts.pages_without_vector
    without = f" ({empty:,} with nothing to embed)" if empty else ""
    typer.echo(
        f"{output}: {facts.pages:,} pages of {facts.documents:,} documents{without}, "
        f"{facts.dim} dimensions, pages as {facts.fields}"
    )
    typer.echo(f"{built.changes}, version {facts.version}")
    if opened:
        typer.echo(f'Next: sightline search {output} "your question"')
    else:
        typer.echo(f"Next: sightline versions {output} --use {facts.version}")
