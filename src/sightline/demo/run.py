"""`sightline demo`: the whole road on the self-made collection, one stage after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.demo.tower import TowerRecipe

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.documents.dataset import Dataset
    from sightline.models.encoder import Encoder
    from sightline.runs.train import RunResult

STAGES = 6


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves behind.

    Attributes:
        run: the fine-tuning with its table.
        index: folder of the search index.
        seconds: wall-clock time by stage.
    """

    run: RunResult
    index: Path
    seconds: dict[str, float]


@dataclass
class _Stages:
    """Tells which stage begins and how long each took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, told: str) -> Iterator[None]:
        number = len(self.seconds) + 1
        self.console.print(
            f"\n[bold cyan]{number}/{STAGES}[/] [bold]{name}[/]  [dim]{told}[/]", soft_wrap=True
        )
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"    [dim]{self.seconds[name]:.0f} s[/]")


def run_demo(
    output: str | Path,
    *,
    console: Console,
    documents: int = 48,
    tower: TowerRecipe | None = None,
    overrides: tuple[str, ...] = (),
) -> DemoResult:
    """Documents -> dataset -> fine-tuning -> before/after table -> index -> a question answered.

    Everything goes into ``output``: ``collection/``, ``dataset/``, ``base/`` (the model before), ``final/``
    (after), ``results.json``, ``report.html``, ``index/``. A second run starts over, except that pages
    already ingested are taken as they are.

    Args:
        output: the folder.
        console: where it is told.
        documents: size of the collection.
        tower: size and schooling of the image tower.
        overrides: dotted overrides of the demo's recipe.

    Raises:
        CheckpointError: the text model is not installed.
    """
    from sightline.config.load import load_recipe
    from sightline.demo.collection import generate
    from sightline.demo.model import build_default, minilm_folder
    from sightline.demo.tower import teach
    from sightline.documents.dataset import Dataset
    from sightline.documents.ingest import ingest
    from sightline.documents.records import IngestSettings
    from sightline.evaluation.summary import render_table, summarize
    from sightline.runs.train import run_recipe
    from sightline.search.index import build_index

    root, schooling, stages = Path(output), tower or TowerRecipe(), _Stages(console)
    collection, base, index = root / "collection", root / "base", root / "index"
    minilm_folder()  # fail now rather than after the documents are made

    with stages.stage(
        "Documents", "a collection is written: reports, slides, manuals, papers, forms, scanned letters"
    ):
        made = generate(collection, documents=documents)
        console.print(
            f"    {made.documents} documents, {made.pages} pages, {made.questions:,} questions in {collection}"
        )
    with stages.stage("Dataset", f"sightline ingest {collection / 'documents'} -o {root / 'dataset'}"):
        # Without OCR, so that the figures are the same where it is installed.
        report = ingest(
            collection / "documents",
            root / "dataset",
            questions=collection / "questions.jsonl",
            settings=IngestSettings(ocr="none"),
        )
        console.print(f"    {report.summary()}", soft_wrap=True)
    dataset = Dataset.load(root / "dataset")
    with stages.stage(
        "Page tower", "a small vision transformer learns from the training pages; no question is used"
    ):
        encoder = build_default(schooling)
        pages = teach(encoder, dataset, schooling, output=root / "tower", console=console)
        encoder.save_pretrained(base)
        console.print(
            f"    {pages} pages seen {schooling.epochs:g} times; the model before fine-tuning is in {base}"
        )
    with stages.stage(
        "Fine-tuning", f"sightline train recipe.toml model.name={base} data.dataset={root / 'dataset'}"
    ):
        settings = (f"model.name={base}", f"data.dataset={root / 'dataset'}", f"output.dir={root}")
        with as_file(files("sightline.demo") / "recipe.toml") as file:
            run = run_recipe(load_recipe(file, (*settings, *overrides)), console=console)
    with stages.stage("Index", f"sightline index {root / 'dataset'} -m {run.model} -o {index}"):
        build_index(index, dataset, run.encoder)
    with stages.stage("Search", f'sightline search {index} "..."'):
        _answer(index, dataset, run.encoder, console)

    console.print("\n[bold]Held-out documents, before and after[/]")
    console.print(render_table(run.outcome.rows))
    for sentence in summarize(run.outcome.rows, run.outcome.comparisons):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(
        f"[dim]The image rows come from a tower of {_millions(encoder)} million weights that has seen {pages} pages in "
        f"its life; a pretrained vision-language model takes its place below.[/]",
        soft_wrap=True,
    )
    _next(console, run, index, sum(stages.seconds.values()))
    return DemoResult(run, index, stages.seconds)


def _answer(index: Path, dataset: Dataset, encoder: Encoder, console: Console) -> None:
    """Asks the index the first held-out question and shows what came back beside what was wanted."""
    from sightline.search.index import open_index
    from sightline.search.searcher import Searcher

    question = min(dataset.questions("test"), key=lambda item: item.id)
    results = Searcher(open_index(index, encoder), encoder).search(question.query, top_k=3)
    console.print(f"    [bold]{question.query}[/]", soft_wrap=True)
    for hit in results:
        wanted = "  [green](the page that answers it)[/]" if hit.page_id in question.page_ids else ""
        console.print(f"    {hit.rank}. {hit.document}, page {hit.page + 1}{wanted}", soft_wrap=True)
        text = " ".join(hit.snippet.text.split())
        if text:
            console.print(f"       {text[:200]}", style="dim", markup=False, soft_wrap=True)
    console.print(f"    [dim]over {len(dataset.pages)} pages in {results.timings['total'] * 1000:.0f} ms[/]")


def _millions(encoder: Encoder) -> str:
    return f"{sum(one.numel() for one in encoder.backbones()['image'].parameters()) / 1e6:.1f}"


def _next(console: Console, run: RunResult, index: Path, seconds: float) -> None:
    folder = run.output
    console.print(f"\n[bold]Done in {seconds / 60:.1f} minutes.[/] What to do next:")
    lines = [
        ("look at the report", f"{run.report}"),
        ("search in a browser", f"sightline serve {index} --open"),
        ("ask it something", f'sightline search {index} "which pump needs its seal changed most often?"'),
        ("your own documents", "sightline ingest FOLDER -o data/pages --questions questions.jsonl"),
        (
            "a real model, on a GPU",
            "sightline train recipes/qwen3-vl-embedding-2b.toml data.dataset=data/pages   # Qwen3-VL-Embedding-2B",
        ),
    ]
    for told, command in lines:
        console.print(f"  {told:<24} {command}", markup=False, soft_wrap=True)
    console.print(f"  {'everything is in':<24} {folder}", markup=False)
