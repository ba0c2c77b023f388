"""Progress of long work: a bar on a terminal, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]


@contextmanager
def reporting(progress: bool | Progress | None, total: int) -> Iterator[Progress]:
    """A function to call with (pages done, pages).

    Args:
        progress: a function is used as it is; True shows a bar, None shows one if stderr is a terminal,
            False shows nothing.
        total: pages, for the bar.
    """
    if callable(progress):
        yield progress
        return
    if progress is False:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if progress is None and not console.is_terminal:
        yield _silent
        return
    columns = (TextColumn("Indexing pages"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("pages", total=total)
        yield lambda done, _: bar.update(task, completed=done)


def _silent(done: int, total: int) -> None:
    """Report nothing."""
