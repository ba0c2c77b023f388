"""`sightline search`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from sightline.search.results import Hit


class Mode(StrEnum):
    """How pages are found."""

    hybrid = "hybrid"
    vector = "vector"
    text = "text"


def search(
    index: Annotated[str, typer.Argument(help="Folder made by `sightline index`, or s3://BUCKET/PREFIX.")],
    question: Annotated[str, typer.Argument(help="What to look for.")],
    mode: Annotated[
        Mode, typer.Option(help="vector: by meaning; text: by words (BM25); hybrid: both, fused by rank.")
    ] = Mode.hybrid,
    top_k: Annotated[int, typer.Option("--top-k", "-k", metavar="N", min=1, help="Pages to show.")] = 5,
    document: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Search in this document only; repeatable.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Pages in this language only; repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Pages of pdf, image, office, html, ... files only; repeatable."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Pages with this metadata only; repeatable, all must hold."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="The model that made the index, if moved."),
    ] = None,
    reranker: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A reranker to put the pages found into a new order."),
    ] = None,
    rerank_depth: Annotated[int, typer.Option(metavar="N", min=1, help="How many pages it scores.")] = 50,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the pages found as JSON.")] = False,
) -> None:
    """Find the pages that answer a question."""
    from sightline.cli.console import results, write_json
    from sightline.cli.models import load_model, load_reranker
    from sightline.errors import SearchIndexError
    from sightline.search.filters import Filter
    from sightline.search.index import open_index
    from sightline.search.searcher import Searcher

    wanted = Filter(tuple(document or ()), tuple(language or ()), tuple(kind or ()), _metadata(where or []))
    opened = open_index(index)
    opened.check_filter(wanted)
    encoder = None
    if mode is not Mode.text:
        name = model or opened.facts.model
        if not name:
            raise SearchIndexError(f"{index} does not say which model made it; give it with --model")
        encoder = load_model(name, device)
    second = None if reranker is None else load_reranker(reranker, device)
    searcher = Searcher(opened, encoder, reranker=second, rerank_depth=rerank_depth)
    found = searcher.search(question, top_k=top_k, mode=mode.value, where=wanted)
    if as_json:
        write_json({"question": question, "mode": found.mode, "hits": [_as_json(hit) for hit in found]})
        return
    console = results()
    if not len(found):
        typer.echo("Nothing found.")
    for hit in found:
        console.print(
            f"[bold]{hit.rank}. {_escaped(hit.document)}[/], page {hit.page + 1}  [dim]{_scores(hit)}[/]",
            soft_wrap=True,
        )
        if hit.snippet.text:
            console.print(_marked(hit), soft_wrap=True)


def _metadata(conditions: list[str]) -> dict[str, list[Any]]:
    """``["year=2023"]`` -> ``{"year": ["2023", 2023]}``: who types it cannot say whether it was kept as a number."""
    import json

    found: dict[str, list[Any]] = {}
    for condition in conditions:
        name, given, value = condition.partition("=")
        if not given or not name:
            raise typer.BadParameter(f"{condition!r} is not NAME=VALUE", param_hint="--where")
        if name in found:
            raise typer.BadParameter(f"{name!r} is there twice", param_hint="--where")
        found[name] = [value]
        try:
            read = json.loads(value)
        except ValueError:
            continue
        if read is None or isinstance(read, (bool, int, float)):
            found[name].append(read)
    return found


def _marked(hit: Hit) -> Text:
    """The snippet, indented, with the words of the question in bold."""
    from rich.text import Text

    text = Text("   " + hit.snippet.text)
    for start, end in hit.snippet.highlights:
        text.stylize("bold", start + 3, end + 3)
    return text


def _scores(hit: Hit) -> str:
    ranks = [("vector", hit.vector_rank), ("text", hit.text_rank)]
    places = ", ".join(f"{name} rank {rank}" for name, rank in ranks if rank is not None)
    return f"score {hit.score:.3f} ({places})" if places else f"score {hit.score:.3f}"


def _as_json(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "page_id": hit.page_id,
        "document": hit.document,
        "page": hit.page,
        "score": hit.score,
        "vector_rank": hit.vector_rank,
        "text_rank": hit.text_rank,
        "snippet": hit.snippet.text,
        "image": None if hit.image is None else str(hit.image),
    }


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
