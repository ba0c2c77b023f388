"""`sightline mine`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.index import View

if TYPE_CHECKING:
    from sightline.training.distributed import Ranks


class Strategy(StrEnum):
    """Which of the pages that are left are taken."""

    top = "top"
    random = "random"


def mine(
    dataset: Annotated[Path, typer.Argument(help="Folder made by `sightline ingest`, with questions.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Finds pages by its vectors: folder or name on the Hub."
        ),
    ] = None,
    bm25: Annotated[
        bool,
        typer.Option(
            "--bm25", help="Find pages by words, too; fused with the model's, or alone without one."
        ),
    ] = False,
    reranker: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Score pages again with this reranker; margins go by it."),
    ] = None,
    negatives: Annotated[
        int, typer.Option("--negatives", "-n", metavar="N", min=1, help="Pages per question, at most.")
    ] = 5,
    relative_margin: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Leave out pages that reach more than 1 - SHARE of the right page's score."
        ),
    ] = 0.05,
    absolute_margin: Annotated[
        float | None,
        typer.Option(metavar="X", help="Leave out pages less than X below the right page's score."),
    ] = None,
    no_margin: Annotated[
        bool,
        typer.Option("--no-margin", help="No relative margin: keep pages that score as the right one does."),
    ] = False,
    max_score: Annotated[
        float | None, typer.Option(metavar="X", help="Leave out pages that score more.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(metavar="X", help="Leave out pages that score less.")
    ] = None,
    range_min: Annotated[
        int, typer.Option(metavar="N", min=0, help="Skip the N best pages that are left.")
    ] = 0,
    range_max: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Look at N pages per question; by default 10 per negative."),
    ] = None,
    sampling: Annotated[
        Strategy, typer.Option(help="Take the best of the pages that are left, or draw.")
    ] = Strategy.top,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the draws.")] = 0,
    fields: Annotated[
        View | None, typer.Option(help="What of a page the model sees; by default all it takes.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Whose questions and pages.")] = "train",
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of embeddings; by default DATASET/embeddings."),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="For example cpu or cuda:0.")] = None,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16 where the hardware has it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Find hard negatives: pages that a model takes for the answers of questions, and that are none.

    They are written into the dataset; `[data] negatives = N` in a recipe trains with them. Pages that look like a
    right answer are left out, and pages of test documents are never looked at. A run that was stopped goes on where
    it was. On several devices: torchrun --nproc_per_node 4 -m sightline.cli.main mine DATASET --model MODEL
    """
    from sightline.cli.console import is_main_process, notes, results, write_json
    from sightline.cli.models import load_model, load_reranker
    from sightline.documents.dataset import Dataset
    from sightline.documents.mining import mine_negatives
    from sightline.documents.mining_rules import MiningRules
    from sightline.errors import ConfigError

    if model is None and not bm25:
        raise ConfigError("name a model with --model MODEL, or find pages by words with --bm25")
    rules = MiningRules(
        num_negatives=negatives,
        range_min=range_min,
        range_max=range_max,
        absolute_margin=absolute_margin,
        relative_margin=None if no_margin else relative_margin,
        max_score=max_score,
        min_score=min_score,
        sampling_strategy=sampling.value,  # type: ignore[arg-type]
        seed=seed,
    )
    pages = Dataset.load(dataset)  # before a model is loaded
    with _bars() as progress:
        report = mine_negatives(
            pages,
            None if model is None else load_model(model, device),
            bm25=bm25,
            reranker=None if reranker is None else load_reranker(reranker, device),
            rules=rules,
            fields=fields.value if fields else None,
            split=split,
            cache=cache,
            bf16=bf16,
            progress=progress,
            ranks=_launched(),
        )
    if not is_main_process():
        return
    if as_json:
        write_json(report.to_json())
        return
    console = results()
    for line in report.lines():
        console.print(line, markup=False, soft_wrap=True)
    if report.negatives:
        notes().print(
            f"Next: `[data] negatives = {negatives}` in the recipe of `sightline train`",
            markup=False,
            soft_wrap=True,
        )


def _launched() -> Ranks | None:
    """The processes that torchrun started; None without it, when torch need not be loaded for words alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    from sightline.training.distributed import Ranks

    return Ranks.of_launch()


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar per stage on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sightline.cli.console import is_main_process, notes

    console = notes()
    if not console.is_terminal or not is_main_process():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        yield show
