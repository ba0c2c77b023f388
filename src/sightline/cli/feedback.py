"""`sightline feedback`: export, report, forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.feedback.report import FeedbackReport
    from sightline.feedback.store import FeedbackStore

Store = Annotated[
    Path, typer.Argument(metavar="STORE", help="File that `sightline serve --feedback` writes.")
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN", help="Only searches from then on: a date (2025-03-04), or an age (90d, 12h)."
    ),
]

feedback = typer.Typer(
    help="Use what people said of search results: train on it, report it, forget it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@feedback.command("export")
def export(
    store: Store,
    dataset: Annotated[
        Path, typer.Option("--dataset", "-d", metavar="DATASET", help="Dataset whose pages were searched.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a question file for `sightline ingest --questions` in place of adding to the dataset.",
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="A page at rank k is looked at with probability 1/k^X; 0 counts clicks plainly. By default "
            "estimated where the log allows, else 1.",
        ),
    ] = None,
    attraction: Annotated[
        float, typer.Option(metavar="RATE", help="Clicks per look that make a page an answer.")
    ] = 0.5,
    min_voices: Annotated[
        int, typer.Option(metavar="N", min=1, help="Sessions that must have clicked it.")
    ] = 1,
    clicks: Annotated[
        bool, typer.Option("--clicks/--marks-only", help="Whether clicks count, or explicit marks alone.")
    ] = True,
    weak: Annotated[
        bool,
        typer.Option("--skipped/--no-skipped", help="Take pages passed over for a click below as negatives."),
    ] = True,
    max_negatives: Annotated[
        int, typer.Option(metavar="N", min=0, help="Most negatives of a question.")
    ] = 10,
    since: Since = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Make training questions of feedback, with right pages and negatives, ready for `sightline train`.

    Marks always count; clicks count by how seldom their rank is looked at. Questions of an earlier export are replaced.
    What is about held-out documents goes to their split, and never into training.
    """
    from sightline.cli.console import check_place, notes, write_json
    from sightline.cli.console import results as shown
    from sightline.feedback.export import export_feedback
    from sightline.feedback.weighing import WeighingRules

    rules = WeighingRules(eta, attraction, min_voices, clicks, weak)
    if output is not None:
        check_place(output)
    with _opened(store) as opened:
        searches = opened.searches(since=_time(since, "--since"))
        report = export_feedback(searches, dataset, output, rules=rules, max_negatives=max_negatives)
    if as_json:
        write_json(report.to_json())
        return
    for line in report.lines():
        shown().print(line, markup=False, soft_wrap=True)
    if report.questions:
        then = f"sightline ingest FOLDER -o {dataset} --questions {output}"
        train = f"sightline train RECIPE data.dataset={dataset} data.negatives=3"
        notes().print(f"Next: {train if output is None else then}", markup=False)


@feedback.command("report")
def report(
    store: Store,
    since: Since = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show how the search is used: searches per day, clicks by rank, unanswered queries, marks by version."""
    from sightline.cli.console import results, write_json
    from sightline.feedback.report import report_feedback

    with _opened(store) as opened:
        found = report_feedback(opened.searches(since=_time(since, "--since")))
    if as_json:
        write_json(found.to_json())
    else:
        _show(results(), found)


@feedback.command("forget")
def forget(
    store: Store,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Searches that asked this, case, white space and the mark at its end aside."
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Searches before a date (2025-03-04), or older than 90d, 12h."),
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="NAME", help="Searches of this session.")] = None,
) -> None:
    """Delete searches with all that was said of them, so that nothing of them is left in the file.

    With several options, those that meet all. It may run while the service writes. Export again afterwards, to take
    them out of a dataset as well.
    """
    with _opened(store) as opened:
        gone = opened.forget(query=query, before=_time(before, "--before"), session=session)
    typer.echo(f"{store}: {gone.searches:,} searches and {gone.marks:,} marks deleted")
    if not gone.wiped:
        typer.echo("another process is reading; what is left in the log goes with a later write", err=True)


def _opened(store: Path) -> FeedbackStore:
    from sightline.errors import FeedbackError
    from sightline.feedback.store import FeedbackStore

    if not store.is_file():
        raise FeedbackError(
            f"{store}: there is no such file; `sightline serve INDEX --feedback {store}` makes it"
        )
    return FeedbackStore(store)


def _time(text: str | None, option: str) -> datetime | None:
    """A date, a time, or an age, in UTC.

    Raises:
        BadParameter: none of these.
    """
    if text is None:
        return None
    units = {"d": "days", "h": "hours", "m": "minutes"}
    try:
        if text[-1:] in units and text[:-1].isdecimal():
            return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no date like 2025-03-04 and no age like 90d", param_hint=option
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _show(console: Console, found: FeedbackReport) -> None:
    from rich.table import Table

    from sightline.feedback.report import RANKS

    def table(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
        if not rows:
            return
        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for number, name in enumerate(columns):
            drawn.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
        console.print(f"\n{title}", markup=False)
        console.print(drawn, markup=False)

    console.print(f"{found.searches:,} searches for {found.queries:,} queries")
    table(
        "By day (UTC)",
        ("day", "searches", "sessions", "with a click", "with a mark", "none of these"),
        [(d.day, d.searches, d.sessions, d.clicked, d.marked, d.unanswered) for d in found.days[-31:]],
    )
    table(
        "By rank",
        ("rank", "shown", "clicked", "clicks per page", "relevant", "not relevant"),
        [
            (
                f"over {RANKS}" if r.rank > RANKS else str(r.rank),
                r.shown,
                r.clicked,
                f"{r.rate:.3f}",
                r.relevant,
                r.not_relevant,
            )
            for r in found.ranks
        ],
    )
    table(
        "By version of the index (MRR of explicit marks)",
        ("version", "model", "searches", "judged", "MRR"),
        [
            (v.version, v.model, v.searches, v.judged, "-" if v.mrr is None else f"{v.mrr:.3f}")
            for v in found.versions
        ],
    )
    table("Unanswered (none of these)", ("query", "searches"), list(found.unanswered[:20]))
    table("Nothing found", ("query", "searches"), list(found.empty[:20]))
    console.print(f"\nClicks: {found.bias.sentence()}", soft_wrap=True)
