"""`sightline questions`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.documents.generation.candidates import QuestionsReport


def questions(
    dataset: Annotated[Path, typer.Argument(help="Folder made by `sightline ingest`.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="From headings, captions, tables and sentences; asks no model.")
    ] = False,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An OpenAI-compatible endpoint: https://api.openai.com/v1, say."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="The endpoint's name for the model.")
    ] = None,
    key_variable: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable with the endpoint's key.")
    ] = "OPENAI_API_KEY",
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,...",
            help="Offline: heading, caption, table, figure, sentence. A model: fact, lookup, chart, topic,"
            " multi-page. By default all.",
        ),
    ] = None,
    languages: Annotated[
        str | None,
        typer.Option(metavar="CODE,...", help="Languages a model asks in: en,de; by default each page's."),
    ] = None,
    per_page: Annotated[
        int, typer.Option(metavar="N", min=1, help="Offline: the most questions of a page.")
    ] = 4,
    per_kind: Annotated[
        int, typer.Option(metavar="N", min=1, help="A model: questions per kind, language and page.")
    ] = 1,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Splits to ask about; repeatable. By default train, and others without people's questions.",
        ),
    ] = None,
    pages: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only this many pages, drawn by the seed.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Draws pages and wordings.")] = 0,
    margin: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="How near another page's score makes it a rival of the gold page."
        ),
    ] = 0.1,
    rivals: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Most rivals of a gold page; by default 2 offline, 10 for a model."
        ),
    ] = None,
    margin_model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="An encoder that finds rivals by page images, in place of BM25."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the endpoint, too, whether the page answers each question.")
    ] = False,
    pixels: Annotated[
        int, typer.Option(metavar="N", help="Most pixels of a page image sent to a model.")
    ] = 1_000_000,
    max_tokens: Annotated[int, typer.Option(metavar="N", help="Longest answer of a model.")] = 2000,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="Requests under way at once.")] = 8,
    requests_per_minute: Annotated[
        float | None, typer.Option(metavar="N", help="Limit of the endpoint.")
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(metavar="N", help="Limit of the endpoint.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="For one request.")] = 180.0,
    attempts: Annotated[int, typer.Option(metavar="N", min=1, help="Tries per request.")] = 6,
    price_in: Annotated[
        float | None, typer.Option(metavar="PRICE", help="Of a million tokens sent, to tell the cost.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(metavar="PRICE", help="Of a million tokens answered.")
    ] = None,
    replace_earlier: Annotated[
        bool, typer.Option("--replace", help="Take out what the same model asked before.")
    ] = False,
    skip_failed: Annotated[
        bool, typer.Option("--skip-failed", help="Go on without pages whose requests fail again and again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Make questions about a dataset's pages, to train and to test with.

    Give --offline, or --base-url and --model. With a model the page images are sent to the endpoint; its answers
    are kept, so a run that was stopped goes on and asks nothing twice.
    """
    from sightline.errors import ConfigError

    chosen = tuple(split) if split else None
    if offline == (base_url is not None or model is not None):
        raise ConfigError("questions: give either --offline, or --base-url and --model")
    if offline:
        from sightline.documents.offline_questions import OfflineSettings, offline_questions

        made = OfflineSettings(per_page=per_page, seed=seed, splits=chosen, pages=pages, margin=margin)
        made = replace(made, kinds=made.kinds if kinds is None else _list(kinds))
        made = replace(made, rivals=made.rivals if rivals is None else rivals)
        _tell(offline_questions(dataset, made), as_json)
        return
    if base_url is None or model is None:
        raise ConfigError("questions: --base-url and --model belong together")
    from sightline.cli.console import notes
    from sightline.documents.generation.endpoint import EndpointSettings
    from sightline.documents.model_questions import ModelSettings, model_questions

    endpoint = EndpointSettings(
        base_url,
        model,
        key_variable,
        concurrency=concurrency,
        timeout=timeout,
        attempts=attempts,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    settings = ModelSettings(
        per_kind=per_kind,
        languages=_list(languages or ""),
        pixels=pixels,
        max_tokens=max_tokens,
        splits=chosen,
        pages=pages,
        seed=seed,
        margin=margin,
        check=check,
        replace=replace_earlier,
        skip_failed=skip_failed,
        price_in=price_in,
        price_out=price_out,
    )
    settings = replace(settings, kinds=settings.kinds if kinds is None else _list(kinds))
    settings = replace(settings, rivals=settings.rivals if rivals is None else rivals)
    encoder = None
    if margin_model is not None:
        from sightline.cli.models import load_model

        encoder = load_model(margin_model)
    notes().print(f"Page images are sent to {endpoint.place}", markup=False, soft_wrap=True)
    _tell(model_questions(dataset, endpoint, settings, encoder=encoder), as_json)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _tell(report: QuestionsReport, as_json: bool) -> None:
    from sightline.cli.console import notes, write_json

    for line in report.notes:
        notes().print(line, markup=False, soft_wrap=True)
    if as_json:
        write_json(
            {
                "origin": report.origin,
                "pages": report.pages,
                "candidates": report.candidates,
                "kinds": dict(report.kinds),
                "rejected": dict(report.rejected),
                "rejected_file": str(report.rejected_file),
                "added": report.added.added,
                "removed": report.added.removed,
                "questions": report.added.total,
                **report.facts,
            }
        )
        return
    typer.echo(report.summary())
