"""The bar that an ingest shows where somebody is looking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sightline.documents.records import Document, RecognisedText


def with_bar(
    records: Iterable[Document | RecognisedText], total: int, shown: bool | None
) -> Iterator[Document | RecognisedText]:
    """The records as they come, counted by a bar on standard error.

    Args:
        records: finished documents, and pages whose text was recognised.
        total: how many documents there are.
        shown: show it; where None, when standard error is a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (console.is_terminal if shown is None else shown):
        yield from records
        return
    columns = (
        TextColumn("Reading documents"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pages]:,} pages, {task.fields[skipped]} skipped{task.fields[ocr]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        line = bar.add_task("", total=total, pages=0, skipped=0, ocr="")
        pages = skipped = recognised = 0
        for record in records:
            if isinstance(record, RecognisedText):
                recognised += 1
                bar.update(line, ocr=f", text of {recognised:,} recognised")
            else:
                pages, skipped = pages + len(record.pages), skipped + (record.status != "ok")
                bar.update(line, advance=1, pages=pages, skipped=skipped)
            yield record
