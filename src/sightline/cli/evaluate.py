"""`sightline eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.options import Dims, Precisions


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of a model, or a name on the Hub.")],
    dataset: Annotated[
        Path, typer.Argument(help="Folder made by `sightline ingest`, or in the layout of BEIR or ViDoRe.")
    ],
    split: Annotated[
        str, typer.Option(metavar="NAME", help='Split whose questions are asked; "all" for every question.')
    ] = "test",
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="VIEWS",
            help="What of a page the model sees: text, image, both, or several with commas; "
            "by default all the model takes.",
        ),
    ] = None,
    dims: Dims = None,
    precisions: Precisions = "float32",
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Another model to measure first, the untuned one say."),
    ] = None,
    bm25: Annotated[bool, typer.Option("--bm25/--no-bm25", help="Also measure BM25 over the text.")] = True,
    within_document: Annotated[
        bool,
        typer.Option("--within-document", help="Search only the pages of the document a question is about."),
    ] = False,
    reranker: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A reranker to put the pages found into a new order."),
    ] = None,
    rerank_depths: Annotated[
        str,
        typer.Option(metavar="N,N,...", help="How many pages per question it reranks; a row each."),
    ] = "10,50,100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the results as JSON here.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a report here, as one HTML file."),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure a model on a dataset's held-out questions.

    The pages searched are those of the split's documents. Differences between models come with a bootstrap
    interval over questions, whole documents at a time.
    """
    from sightline.cli.console import (
        check_place,
        notes,
        numbers_of,
        results,
        show_breakdown,
        show_results,
        show_sizes,
        words_of,
        write_json,
    )
    from sightline.cli.models import quiet_transformers
    from sightline.runs.compare import compare_models

    for path in (output, report):
        if path is not None:
            check_place(path)
    quiet_transformers()
    views = words_of(fields) if fields else None
    widths = numbers_of(dims, "--dims") if dims else None
    depths = numbers_of(rerank_depths, "--rerank-depths")
    found = compare_models(
        [*(compare or []), model],
        dataset,
        split=None if split == "all" else split,
        views=views,
        dims=widths,
        precisions=words_of(precisions),
        bm25=bm25,
        within_document=within_document,
        reranker=reranker,
        rerank_depths=depths,
        device=device,
        console=notes(),
    )
    if output is not None:
        found.write(output)
    if report is not None:
        found.write_report(report)
    if as_json:
        write_json(found.to_json())
        return
    console = results()
    show_results(console, found)
    show_sizes(console, found.rows)
    show_breakdown(console, found.rows[-1])
    for path in (output, report):
        if path is not None:
            console.print(f"written: {path}", soft_wrap=True)
