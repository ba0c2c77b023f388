"""`sightline index`."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.search.index import SearchIndex
    from sightline.search.options import VectorOptions


class View(StrEnum):
    """What of a page is embedded."""

    text = "text"
    image = "image"
    both = "both"


class Kept(StrEnum):
    """Numbers that vectors are kept in."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"
    binary = "binary"


class Ann(StrEnum):
    """How vectors are searched."""

    auto = "auto"
    exact = "exact"
    ivf = "ivf"
    hnsw = "hnsw"


class Where(StrEnum):
    """Who embeds."""

    local = "local"
    ray = "ray"


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
    dims: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Prefixes of the vectors to search besides; by default those the model was trained with.",
        ),
    ] = None,
    precision: Annotated[
        Kept | None,
        typer.Option(help="Numbers the vectors are kept in; by default float32, token vectors float16."),
    ] = None,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore", help="Keep float16 originals beside int8 or binary, to order what they find."
        ),
    ] = False,
    token_pooling: Annotated[
        float | None,
        typer.Option(metavar="N", min=1, help="Of a model with a vector per token: merge N tokens into one."),
    ] = None,
    ann: Annotated[
        Ann | None,
        typer.Option(
            help="Compare all vectors, or go by an index; by default (auto) by the number of pages."
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(metavar="R", help="Recall@10 against exact search that an index has to reach. [0.95]"),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add these documents to those of the index, or replace them there."),
    ] = False,
    no_switch: Annotated[
        bool,
        typer.Option("--no-switch", help="Build beside the open version; `sightline versions` opens it."),
    ] = False,
    engine: Annotated[
        Where, typer.Option(help="Embed in this process, or on a Ray cluster (extra 'ray', RAY_ADDRESS).")
    ] = Where.local,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Of the Ray cluster; by default one per GPU or machine."),
    ] = None,
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
    from sightline.search.ray_engine import RayEngine
    from sightline.search.versions import open_version

    pages = Dataset.load(dataset)
    opened = open_index(output) if add or (model is None and open_version(output)) else None
    options = _vector_options(dims, precision, rescore, token_pooling, ann, recall)
    if add and (fields or dim or options):
        raise ConfigError(
            "--add embeds as the index was built; leave out what says how vectors are made or kept"
        )
    if opened and not options:
        options = opened.vector_facts.options
    name = model or (opened.facts.model if opened else "")
    if not name:
        raise ConfigError(f"{output} does not say which model makes it; give it with --model")
    # The path as it will be found from any folder, for `sightline search` to load the same model again.
    place = str(Path(name).resolve()) if Path(name).is_dir() else name
    if engine is Where.local and workers:
        raise ConfigError("--workers is for --engine ray; in this process there is one")
    with ExitStack() as stack:
        cluster: RayEngine | None = None
        if engine is Where.ray:
            # The pages go to the workers; this process loads the model to tell which it is.
            encoder = load_model(name, "cpu")
            cluster = stack.enter_context(RayEngine(encoder, place, workers=workers, device=device))
        else:
            encoder = load_model(name, device)
        if add:
            built = update_index(output, encoder, add=pages, switch=not no_switch, engine=cluster)
        else:
            built = build_index(
                output,
                pages,
                encoder,
                fields=fields.value if fields else None,
                dim=dim,
                model=place,
                switch=not no_switch,
                engine=cluster,
                vectors=options,
            )
    show_built(
        built, output, as_json=as_json, opened=not no_switch or open_version(output) == built.facts.version
    )


def _vector_options(
    dims: str | None,
    precision: Kept | None,
    rescore: bool,
    token_pooling: float | None,
    ann: Ann | None,
    recall: float | None,
) -> VectorOptions | None:
    """The options given, None where none was."""
    from sightline.cli.console import numbers_of
    from sightline.search.options import VectorOptions

    given = {
        "dims": None if dims is None else tuple(numbers_of(dims, "--dims")),
        "precision": precision.value if precision else None,
        "rescore": rescore or None,
        "token_pooling": token_pooling,
        "ann": ann.value if ann else None,
        "recall": recall,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return VectorOptions(**given) if given else None  # type: ignore[arg-type]


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
    for line in built.vector_facts.sentences():
        typer.echo(line)
    typer.echo(f"{built.changes}, version {facts.version}")
    if opened:
        typer.echo(f'Next: sightline search {output} "your question"')
    else:
        typer.echo(f"Next: sightline versions {output} --use {facts.version}")
