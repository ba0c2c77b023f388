"""`sightline index`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class View(StrEnum):
    """What of a page is embedded."""

    text = "text"
    image = "image"
    both = "both"


def index(
    dataset: Annotated[Path, typer.Argument(help="Folder made by `sightline ingest`.")],
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="Folder or name on the Hub.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="INDEX", help="Folder of the index.")],
    fields: Annotated[
        View | None, typer.Option(help="What of a page is embedded; by default all the model takes.")
    ] = None,
    dim: Annotated[int | None, typer.Option(metavar="N", min=1, help="Keep the first N dimensions.")] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the index's facts as JSON.")] = False,
) -> None:
    """Embed every page of a dataset into an index for search.

    A build that was stopped goes on where it was; the old index stays in use until the new one is complete.
    """
    from dataclasses import asdict

    from sightline.cli.console import write_json
    from sightline.cli.models import load_model
    from sightline.documents.dataset import Dataset
    from sightline.search.index import build_index

    pages = Dataset.load(dataset)
    encoder = load_model(model, device)
    # The path as it will be found from any folder, for `sightline search` to load the same model again.
    place = str(Path(model).resolve()) if Path(model).is_dir() else model
    built = build_index(output, pages, encoder, fields=fields.value if fields else None, dim=dim, model=place)
    if as_json:
        write_json(asdict(built.facts))
        return
    facts = built.facts
    empty = facts.pages_without_vector
    without = f" ({empty:,} with nothing to embed)" if empty else ""
    typer.echo(
        f"{output}: {facts.pages:,} pages of {facts.documents:,} documents{without}, "
        f"{facts.dim} dimensions, pages as {facts.fields}"
    )
    typer.echo(f'Next: sightline search {output} "your question"')
