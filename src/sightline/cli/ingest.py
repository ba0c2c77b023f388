"""`sightline ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ingest(
    folder: Annotated[Path, typer.Argument(help="Folder of documents, read with its subfolders.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DATASET",
            help="Folder of the dataset: new, or made by an earlier ingest.",
        ),
    ],
    questions: Annotated[
        list[Path] | None,
        typer.Option(
            "--questions",
            "-q",
            metavar="FILE",
            help='Questions as JSON lines {"id", "query", "document", "pages": [zero-based]}; repeatable.',
        ),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Documents per split as JSON {"train": [...], "test": [...]}; by default drawn by name.',
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='What is known of the documents as JSON lines {"document": name, ...any fields}, to filter'
            " searches by.",
        ),
    ] = None,
    pixels: Annotated[int, typer.Option(metavar="N", help="Most pixels of a page image.")] = 1_000_000,
    test_fraction: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of the documents that is set aside as the test split."),
    ] = 0.2,
    ocr: Annotated[
        str,
        typer.Option(
            metavar="none|missing|all",
            help="Pages whose text is recognised; by default those without a text layer, where the extra 'ocr'"
            " is installed.",
        ),
    ] = "missing",
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Make a page of every frame of an animation.")
    ] = False,
    font: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Font for text, Markdown and HTML; by default DejaVu."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes; by default one per CPU core.", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Turn a folder of documents into a dataset of pages.

    Reads PDF, images, multi-page TIFF, HTML, Markdown, plain text, and Word, PowerPoint and Excel files where
    LibreOffice is installed. A file that cannot be read is named and skipped. A run that was stopped goes on
    where it was; a finished dataset is brought up to date.
    """
    from sightline.cli.console import notes, write_json
    from sightline.documents.ingest import ingest as run
    from sightline.documents.records import OCR_MODES, IngestSettings
    from sightline.errors import ConfigError, DataError

    mode = next((known for known in OCR_MODES if known == ocr), None)
    if mode is None:
        raise ConfigError(f"--ocr {ocr}: write one of {', '.join(OCR_MODES)}")
    settings = IngestSettings(
        pixels=pixels,
        test_fraction=test_fraction,
        ocr=mode,
        all_frames=all_frames,
        font=str(font) if font else "",
    )
    report = run(
        folder,
        output,
        questions=questions,
        splits=splits,
        metadata=metadata,
        settings=settings,
        workers=workers,
    )
    console = notes()
    for line in report.refusals:
        console.print(f"skipped {line}", markup=False, soft_wrap=True)
    for line in report.notes[len(report.refusals) :]:
        console.print(line, markup=False, soft_wrap=True)
    if as_json:
        write_json(
            {
                "output": str(report.output),
                "documents": report.documents,
                "pages": report.pages,
                "reused": report.reused,
                "questions": report.questions,
                "skipped": {item.document: item.error for item in report.skipped},
                "partial": {item.document: item.error for item in report.partial},
                "removed": list(report.removed),
                "dropped": list(report.dropped),
                "languages": {name or "unknown": count for name, count in report.languages.items()},
                "text_sources": dict(report.text_sources),
                "duplicates": report.duplicates,
                "seconds": round(report.seconds, 3),
            }
        )
    else:
        for line in report.facts():
            console.print(line, markup=False, soft_wrap=True)
        typer.echo(report.summary())
    if not report.pages:
        raise DataError(f"{folder}: none of its {len(report.skipped)} files could be read")
