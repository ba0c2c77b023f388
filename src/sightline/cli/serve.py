"""`sightline serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.serving.service import Served
    from sightline.serving.settings import Settings


def serve(
    index: Annotated[str, typer.Argument(help="Folder made by `sightline index`, or s3://BUCKET/PREFIX.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="The model that made the index, if moved."),
    ] = None,
    reranker: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A reranker to put the pages found into a new order.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Where to listen; by default this machine only, 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", metavar="N", help="By default 8000; 0 takes a free one.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Training runs to show in the view of models.")
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep feedback on results in this file.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION", help="Load this version of the index beside the open one; repeatable."
        ),
    ] = None,
    api_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask for an API key; the file holds one per line.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host name that requests may be addressed to; repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A web page's origin that may call the API; repeatable."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the search page in a browser.")] = False,
    log: Annotated[
        str,
        typer.Option(
            metavar="json|text|auto", help="Form of the log; auto: text on a terminal, else JSON lines."
        ),
    ] = "auto",
    log_queries: Annotated[bool, typer.Option("--log-queries", help="Write queries to the log.")] = False,
) -> None:
    """Serve an index: a search page, and search, embeddings and reranking over HTTP.

    Switching the index to another version is noticed while serving. SIGTERM and Ctrl-C let running requests finish.
    Every setting, limits too, can be given in the environment as SIGHTLINE_SERVE_<NAME>; see docs/serving.md.
    """
    from dataclasses import replace

    from sightline.cli.console import notes
    from sightline.cli.models import quiet_transformers
    from sightline.errors import ConfigError
    from sightline.feedback.store import FeedbackStore
    from sightline.search.index import open_index
    from sightline.serving import logs
    from sightline.serving.loading import IndexSource
    from sightline.serving.server import listen, run
    from sightline.serving.service import Service
    from sightline.serving.settings import Settings, read_keys

    if log not in ("json", "text", "auto"):
        raise ConfigError(f"--log {log}: write json, text or auto")
    settings = Settings.read(
        os.environ,
        model=model,
        reranker=reranker,
        host=host,
        port=port,
        device=device,
        runs=runs,
        feedback=feedback,
        versions=tuple(also) if also else None,
        api_keys=read_keys(api_keys) if api_keys else None,
        allowed_hosts=tuple(allow_host) if allow_host else None,
        cors_origins=tuple(allow_origin) if allow_origin else None,
        log_queries=log_queries or None,
    )
    open_index(index)  # what is wrong with it is told before anything is loaded
    listening = listen(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    console = notes()
    logs.set_up(as_json=log == "json" or (log == "auto" and not console.is_terminal))
    quiet_transformers()
    store = FeedbackStore(settings.feedback) if settings.feedback else None
    service = Service(settings, source=IndexSource(index, settings), feedback=store)

    def ready() -> None:
        for line in _welcome(service.current, settings):
            console.print(line, markup=False)
        if open_browser:
            import webbrowser

            webbrowser.open(settings.url)

    console.print(f"Loading {index} ...", markup=False)
    run(service, listening, on_ready=ready)


def _welcome(served: Served, settings: Settings) -> list[str]:
    """What is served, where, and what to do with it."""
    facts = served.index.facts
    key = ' -H "Authorization: Bearer KEY"' if settings.api_keys else ""
    lines = [
        f"Serving {facts.pages:,} pages of {facts.documents:,} documents, searched with {served.model}"
        + (f", reranked by {served.reranker}" if served.reranker else ""),
        f"  Search page  {settings.url}/",
        f"  API          {settings.url}/openapi.json",
        f"  Try          curl {settings.url}/v1/search{key} -H 'Content-Type: application/json' "
        """-d '{"query": "your question"}'""",
    ]
    if not settings.api_keys and settings.host not in ("127.0.0.1", "localhost", "::1"):
        lines.append("  Note         anyone who reaches this port can search; --api-keys FILE asks for a key")
    return [*lines, "Ctrl-C ends it."]
