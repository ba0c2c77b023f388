"""`sightline search`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from sightline.search.heat import HeatMap
    from sightline.search.results import Hit
    from sightline.search.searcher import Searcher


class Mode(StrEnum):
    """How pages are found."""

    hybrid = "hybrid"
    vector = "vector"
    text = "text"


class FusionMethod(StrEnum):
    """How two rankings become one."""

    rrf = "rrf"
    scores = "scores"


def search(
    index: Annotated[str, typer.Argument(help="Folder made by `sightline index`, or s3://BUCKET/PREFIX.")],
    question: Annotated[
        str, typer.Argument(help="What to look for; may be left out where there is an image.")
    ] = "",
    image: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Look for this image, alone or with the question."),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="vector: by meaning; text: by words (BM25); hybrid: both, fused.")
    ] = Mode.hybrid,
    fusion: Annotated[
        FusionMethod, typer.Option(help="How hybrid fuses: reciprocal ranks, or scores on one scale.")
    ] = FusionMethod.rrf,
    weights: Annotated[
        str, typer.Option(metavar="V,T", help="Weights of vectors and of text in hybrid, such as 2,1.")
    ] = "1,1",
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
    dim: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Compare the first N dimensions only.")
    ] = None,
    timings: Annotated[bool, typer.Option("--timings", help="Show what each stage took.")] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Write the first page found, coloured where it answers."),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the pages found as JSON.")] = False,
) -> None:
    """Find the pages that answer a question."""
    from sightline.cli.console import results, write_json
    from sightline.cli.models import load_model, load_reranker
    from sightline.errors import ConfigError, SearchIndexError
    from sightline.search.filters import Filter
    from sightline.search.index import open_index
    from sightline.search.searcher import Searcher

    if image is None and not question.strip():
        raise ConfigError("what to look for is missing: give a question, or an image with --image")
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
    searcher = Searcher(
        opened,
        encoder,
        fusion=fusion.value,
        weights=_pair(weights),
        reranker=second,
        rerank_depth=rerank_depth,
    )
    query: Any = question
    if image is not None:
        query = {"text": question, "image": image} if question.strip() else {"image": image}
    found = searcher.search(query, top_k=top_k, mode=mode.value, where=wanted, dim=dim)
    heat = (
        _write_heat(heatmap, searcher, query, found[0], dim) if heatmap is not None and len(found) else None
    )
    if as_json:
        answer: dict[str, Any] = {
            "question": question,
            "mode": found.mode,
            "reranked": found.reranked,
            "hits": [_as_json(hit) for hit in found],
            "timings_ms": {stage: seconds * 1e3 for stage, seconds in found.timings.items()},
        }
        write_json(answer | ({} if heat is None else {"heatmap": _heat_facts(heatmap, heat)}))
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
    if timings:
        stages = ", ".join(f"{stage} {seconds * 1e3:.1f}" for stage, seconds in found.timings.items())
        console.print(f"[dim]Milliseconds: {stages}[/]", soft_wrap=True)
    if heat is not None:
        console.print(
            f"[dim]{_escaped(str(heatmap))}: by {heat.method} of the {heat.model}, on the page's "
            f"{' and '.join(heat.sees)}; {heat.passes} passes, {heat.seconds:.1f} s[/]",
            soft_wrap=True,
        )


def _pair(weights: str) -> tuple[float, float]:
    from sightline.errors import ConfigError

    try:
        vector, text = (float(part) for part in weights.split(","))
    except ValueError:
        raise ConfigError(
            f"--weights are two numbers, of vectors and of text, such as 2,1; not {weights!r}"
        ) from None
    return vector, text


def _write_heat(path: Path, searcher: Searcher, query: Any, hit: Hit, dim: int | None) -> HeatMap:
    """Writes the page with its heat map over it."""
    from sightline.errors import SearchIndexError
    from sightline.files import write_bytes
    from sightline.inputs.images import open_image
    from sightline.search.overlay import overlay, png

    if hit.image is None:
        raise SearchIndexError(f"page {hit.page_id!r} has no image to draw a heat map on")
    heat = searcher.explain(query, hit.page_id, dim=dim)
    write_bytes(path, png(overlay(open_image(hit.image), heat.values_HW)))
    return heat


def _heat_facts(path: Path | None, heat: HeatMap) -> dict[str, Any]:
    rows, columns = heat.values_HW.shape
    return {
        "file": str(path),
        "method": heat.method,
        "model": heat.model,
        "sees": list(heat.sees),
        "rows": rows,
        "columns": columns,
        "passes": heat.passes,
        "seconds": heat.seconds,
    }


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
