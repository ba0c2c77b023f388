"""`sightline compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.options import Dims, Precisions


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="SYSTEM...",
            help="bm25; a model, with text:, image: or both: in front for one view of the pages; run:NAME=FILE in "
            "TREC's format; the folder of a finished run, or a results file. NAME=SYSTEM names it.",
        ),
    ],
    on: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Questions and pages: made by `sightline ingest`, or in the layout of BEIR or ViDoRe. "
            "By default those of the first finished run.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help='Split whose questions are asked; "all" for every question.'),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Judgments in TREC's format, in place of the folder's own."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the others are compared with; by default the first system."),
    ] = None,
    dims: Dims = None,
    precisions: Precisions = "float32",
    reranker: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A reranker to put the pages each model finds into a new order."),
    ] = None,
    rerank_depths: Annotated[
        str, typer.Option(metavar="N,N,...", help="How many pages per question it reranks; a row each.")
    ] = "10,50,100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write everything as JSON here.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown here.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg", help="Draw quality against bytes and against milliseconds per page here."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report here, as one HTML file.")
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write what each system retrieves here, 1,000 pages a question, in TREC's format.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where vectors are kept, so that nothing is embedded twice; by default `embeddings` in the dataset.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare models, BM25, runs of other software and finished runs on the same questions.

    Each system is compared with the baseline by a paired randomisation test, corrected for the number of
    comparisons. Finished runs are not measured again; they must have been measured with the same questions and
    pages.
    """
    from sightline.cli.console import (
        check_place,
        notes,
        numbers_of,
        results,
        show_breakdown,
        show_sizes,
        words_of,
        write_json,
    )
    from sightline.cli.models import quiet_transformers
    from sightline.errors import ConfigError

    for path in (output, markdown, plot, report):
        if path is not None:
            check_place(path)
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot}: the plot is written as SVG; name a file that ends in .svg")
    quiet_transformers()
    from sightline.evaluation.tables import costs_table, quality_table
    from sightline.runs.contest import compare_systems

    told = notes()
    found = compare_systems(
        systems,
        on=on,
        split=split,
        qrels=qrels,
        baseline=baseline,
        dims=numbers_of(dims, "--dims") if dims else None,
        precisions=words_of(precisions),
        reranker=reranker,
        rerank_depths=numbers_of(rerank_depths, "--rerank-depths"),
        runs=runs,
        cache=cache,
        device=device,
        tell=lambda line: told.print(line, markup=False, soft_wrap=True),
    )
    if output is not None:
        found.write(output)
    if markdown is not None:
        found.write_markdown(markdown)
    if plot is not None:
        found.write_plot(plot)
    if report is not None:
        found.write_report(report)
    if as_json:
        write_json(found.to_json())
        return
    console = results()
    console.print(quality_table(found.rows, found.comparisons if found.baseline else ()).rich())
    console.print(costs_table(found.rows).rich())
    show_sizes(console, found.rows)
    show_breakdown(console, max(found.rows, key=lambda row: row.result.scores[row.result.primary]))
    for path in (output, markdown, plot, report, runs):
        if path is not None:
            console.print(f"written: {path}", soft_wrap=True)
