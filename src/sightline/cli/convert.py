"""`sightline convert`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Layout(StrEnum):
    """What is written."""

    beir = "beir"
    trec = "trec"
    vidore = "vidore"


def convert(
    source: Annotated[
        Path, typer.Argument(help="Folder made by `sightline ingest`, or in the layout of BEIR or ViDoRe.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder.")],
    to: Annotated[
        Layout,
        typer.Option(
            help="beir: corpus.jsonl, queries.jsonl, qrels/*.tsv, and the images; trec: queries.tsv and qrels; "
            "vidore: Parquet tables of queries, corpus and qrels, with the images inside."
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only this split; of an ingested dataset also only the pages of its documents. By default all.",
        ),
    ] = None,
) -> None:
    """Write questions, pages and judgments in the layout of a public benchmark, or of another."""
    from sightline.cli.console import results
    from sightline.documents.collection import open_collection
    from sightline.evaluation.beir import write_beir
    from sightline.evaluation.trec import write_trec
    from sightline.evaluation.vidore import write_vidore

    found = open_collection(source, split=split)
    {Layout.beir: write_beir, Layout.trec: write_trec, Layout.vidore: write_vidore}[to](found, output)
    results().print(
        f"written: {output}: {len(found.queries):,} questions over {len(found.corpus):,} pages, "
        f"{', '.join(found.qrels)}",
        soft_wrap=True,
    )
