"""The recipes in recipes/, each as it stands.

Two things stand in for what a recipe names: a tiny model of the same architecture with random weights
(`model.name`, `model.routes`) and a tiny table in the layout of the published one, or a few ingested pages
(`data.dataset`, `more.NAME.dataset`). Nothing else is overridden. Flash attention has no kernel on a CPU: there the
recipe's second choice is taken, and the log says so.
"""

from __future__ import annotations

import io
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sightline.config.load import load_recipe
from sightline.errors import ConfigError, DataError, InputError
from sightline.evaluation.saved import read_results
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.runs.tables import open_table
from sightline.runs.train import RunResult, run_recipe
from support import page_datasets, published, tiny_models
from support.zoo.qwen import qwen3_5

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins")


@dataclass(frozen=True)
class Stage:
    """Data that stand in for the published ones, made when they are asked for."""

    work: Path

    @cached_property
    def table(self) -> Path:
        """Enough rows for two batches of 64."""
        return published.table(self.work / "table", train=70, held_out=4)

    @cached_property
    def few(self) -> Path:
        """Enough for two steps of a reranker, which takes ten pairs out of a row."""
        return published.table(self.work / "few", train=6, held_out=4)

    @cached_property
    def pages(self) -> Path:
        """Six one-page PDFs, ingested; two of them held out."""
        (self.work / "pages").mkdir()
        return page_datasets.one_page_each(self.work / "pages", WORDS, held_out=2)


def qwen(folder: Path, data: Path) -> list[str]:
    return [f"model.name={published.qwen3_vl(folder / 'Qwen3-VL-Embedding-2B')}", f"data.dataset={data}"]


def reranker(folder: Path, data: Path) -> list[str]:
    return [
        f"model.name={qwen3_5(folder / 'Qwen3.5-0.8B')}",
        f"data.dataset={data}",
        f"more.image_to_text.dataset={data}",
    ]


def minilm(folder: Path, data: Path) -> list[str]:
    return [
        f"model.name={tiny_models.bert(folder / 'all-MiniLM-L6-v2', hidden=384)}",
        f"data.dataset={data}",
    ]


def router(folder: Path, data: Path) -> list[str]:
    return [
        f"model.routes.text={tiny_models.bert(folder / 'all-MiniLM-L6-v2', hidden=384)}",
        f"model.routes.image={published.dinov2(folder / 'dinov2-small')}",
        f"data.dataset={data}",
    ]


STAND_INS: Mapping[str, Callable[[Path, Stage], list[str]]] = {
    "minilm-text": lambda folder, stage: minilm(folder, stage.pages),
    "qwen3-vl-embedding-2b": lambda folder, stage: qwen(folder, stage.pages),
    "qwen3-vl-embedding-2b-vdr": lambda folder, stage: qwen(folder, stage.table),
    "qwen3-vl-embedding-2b-vdr-lora": lambda folder, stage: qwen(folder, stage.table),
    "reranker-qwen3.5-0.8b-any-to-any": lambda folder, stage: reranker(folder, stage.few),
    "reranker-qwen3.5-0.8b-feature-extraction": lambda folder, stage: reranker(folder, stage.few),
    "router-minilm-dinov2": lambda folder, stage: router(folder, stage.table),
}


@dataclass(frozen=True)
class Ran:
    """A recipe that was run.

    Attributes:
        done: what it returned; paths as seen from ``work``.
        told: what it said.
        work: where it was run.
        stand_ins: the overrides.
    """

    done: RunResult
    told: str
    work: Path
    stand_ins: list[str]

    @property
    def output(self) -> Path:
        return self.work / self.done.output

    @property
    def model(self) -> Path:
        return self.work / self.done.model


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`datasets` keeps what it reads here for the time of these tests."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def ran(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ran]:
    """``ran("minilm-text")``: a recipe run to its end, once; it writes where it says, seen from a folder of its own."""
    known: dict[str, Ran] = {}

    def run(name: str) -> Ran:
        if name not in known:
            work, told = tmp_path_factory.mktemp(name), io.StringIO()
            stand_ins = STAND_INS[name](work, stage)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(work)
                recipe = load_recipe(RECIPES / f"{name}.toml", stand_ins)
                done = run_recipe(recipe, console=Console(file=told, width=200))
            known[name] = Ran(done, told.getvalue(), work, stand_ins)
        return known[name]

    return run


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.table(tmp_path_factory.mktemp("table") / "texts", train=12, held_out=4, text=True)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_runs_as_it_stands(name: str, ran: Callable[[str], Ran]) -> None:
    run = ran(name)
    assert [row.name for row in run.done.outcome.rows if row.name != "bm25"] == ["untuned", "fine-tuned"]
    assert (run.output / "report.html").stat().st_size > 1000
    recipe = load_recipe(RECIPES / f"{name}.toml", run.stand_ins)
    again = load_recipe(run.output / "resolved.toml")
    assert (again.data, again.evaluation.columns) == (recipe.data, recipe.evaluation.columns)
    assert again.training.given() | recipe.training.given() == again.training.given()
    wanted = recipe.model.attn_implementation
    if wanted is not None:
        assert wanted == ["flash_attention_2", "sdpa"]
        assert "sdpa attention (flash_attention_2: does not run on 'cpu')" in run.told
        assert again.model.attn_implementation == "sdpa"


def test_qwen3_vl_embedding_on_visual_document_retrieval(ran: Callable[[str], Ran]) -> None:
    run = ran("qwen3-vl-embedding-2b-vdr")
    assert "70 pairs to train on; to measure with, 4 questions over 20 documents" in run.told
    dims = [2048, 1536, 1024, 512, 256, 128, 64]
    # Pages have no text for BM25.
    assert [row.name for row in run.done.outcome.rows] == ["untuned", "fine-tuned"]
    for row in run.done.outcome.rows:
        assert list(row.result.by_dim) == dims
        assert (len(row.result.queries), row.result.corpus_size) == (4, 20)
        assert all(len(judged) == 1 for judged in row.result.relevant.values())
    assert "step 2/2  evaluation: ndcg@10" in run.told
    left = sorted(path.name for path in (run.output / "checkpoints").iterdir())
    assert left == ["checkpoint-1", "checkpoint-2", "eval"]
    saved = Encoder.from_pretrained(run.model, device="cpu", dtype="bfloat16")
    assert saved.encode("pages").shape == (1, 1024)
    image = saved.backbones()[""].processor.processor.image_processor
    assert image.size["longest_edge"] == 600 * 600
    card = (run.model / "README.md").read_text()
    assert "| **fine-tuned** | 1024 |" in card
    assert "loss:MatryoshkaLoss" in card
    assert "4 questions over 20 documents" in card
    assert "How many employees worked in plant 71?" in (run.output / "report.html").read_text()
    resolved = tomllib.loads((run.output / "resolved.toml").read_text())
    assert resolved["loss"]["similarity"] == "cosine"
    assert resolved["evaluation"]["dims"] == dims


def test_lora_on_visual_document_retrieval(ran: Callable[[str], Ran]) -> None:
    run = ran("qwen3-vl-embedding-2b-vdr-lora")
    # The adapter stays beside the base model, whose weights are not written again.
    assert list(run.model.rglob("adapter_model.safetensors"))
    assert not list(run.model.rglob("model.safetensors"))
    base = run.work / "Qwen3-VL-Embedding-2B"
    before = Encoder.from_pretrained(base, device="cpu").encode("a page of plant 3")
    after = Encoder.from_pretrained(run.model, device="cpu", truncate_dim=2048).encode("a page of plant 3")
    assert float((after.values - before.values).norm() / before.values.norm()) > 1e-4
    # What was saved gives the vectors of the model in memory, to the bit.
    loaded = Encoder.from_pretrained(run.model, device="cpu", dtype="bfloat16").encode("a page of plant 3")
    assert torch.equal(loaded.values, run.done.encoder.encode("a page of plant 3").values)


def test_a_router_of_light_encoders(ran: Callable[[str], Ran]) -> None:
    run = ran("router-minilm-dinov2")
    saved = Encoder.from_pretrained(run.model, device="cpu")
    assert set(saved.modalities) == {"text", "image"}
    # What is frozen gives the vectors it gave before.
    bare = Encoder.from_pretrained(run.work / "all-MiniLM-L6-v2", device="cpu")
    assert float((saved.encode("hello").values - bare.encode("hello").values).abs().max()) < 1e-6


@pytest.mark.parametrize("kind", ["any-to-any", "feature-extraction"])
def test_rerankers(kind: str, ran: Callable[[str], Ran]) -> None:
    run = ran(f"reranker-qwen3.5-0.8b-{kind}")
    # Each row's page and its four negatives; each page's question and four others.
    assert "30 pairs of 'data', 30 of 'image_to_text' to train on" in run.told
    assert "step 2/2  evaluation: ndcg@10" in run.told
    # Each direction has questions, a table and files of its own.
    other = run.done.further["image_to_text"]
    assert [row.name for row in other.rows] == ["untuned", "fine-tuned"]
    assert other.rows[0].result.corpus_size == 4
    saved = read_results(run.output / "results-image_to_text.json")
    assert [row.name for row in saved.rows] == ["untuned", "fine-tuned"]
    assert saved.facts["fingerprint"] != read_results(run.output / "results.json").facts["fingerprint"]
    assert saved.rows[0].result.facts["first search"] == "the row's own and others drawn at random"
    report = (run.output / "report-image_to_text.html").read_text()
    assert "drawn at random" in report
    assert "| **fine-tuned (image_to_text)** |" in (run.model / "README.md").read_text()
    first = run.done.outcome.rows[0].result
    assert first.corpus_size == 20
    assert all(len(found) == 10 for found in first.top.values())
    reranker = Reranker.from_pretrained(run.model, device="cpu", dtype="bfloat16")
    assert reranker.default_prompt_name == "match"
    scores = reranker.predict([("How many?", {"text": "a page"}), ("How many?", {"text": "another page"})])
    assert scores.shape == (2,)
    assert "pipeline_tag: text-ranking" in (run.model / "README.md").read_text()


@pytest.mark.parametrize(
    ("kernels", "words"),
    [
        (
            '"flash_attention_2"',
            r"no attention kernel can run here \(flash_attention_2: does not run on \'cpu\'\)",
        ),
        ("[]", "no attention kernel is named"),
    ],
)
def test_a_kernel_without_another_is_refused_where_it_cannot_run(
    kernels: str, words: str, stage: Stage
) -> None:
    overrides = [f"model.attn_implementation={kernels}", "model.device=cpu", f"data.dataset={stage.few}"]
    recipe = load_recipe(RECIPES / "qwen3-vl-embedding-2b-vdr.toml", overrides)
    with pytest.raises(
        ConfigError, match=f'model.attn_implementation: {words}.*\\["flash_attention_2", "sdpa"\\]'
    ):
        run_recipe(recipe)


# Tables


def plan(texts: Path, output: Path, model: Path, *overrides: str) -> Any:
    from sightline.config.load import recipe_from

    names = [f"negative_{number}" for number in range(4)]
    return recipe_from(
        {
            "model": {"name": str(model)},
            "data": {"dataset": str(texts), "subset": "train", "columns": ["query", "image", "negative_0"]},
            "evaluation": {"subset": "eval", "split": "train", "columns": ["query", "image", *names]},
            "training": {"max_steps": 1, "per_device_train_batch_size": 4, "dataloader_num_workers": 0},
            "output": {"dir": str(output)},
        },
        overrides,
        source="r.toml",
    )


def test_texts_are_measured_with_bm25_too(texts: Path, tmp_path: Path, tiny: Any) -> None:
    done = run_recipe(plan(texts, tmp_path / "run", tiny("bert"), "loss.name=triplet", "loss.margin=0.2",
                           "loss.distance=cosine"))  # fmt: skip
    assert [row.name for row in done.outcome.rows] == ["bm25", "untuned", "fine-tuned"]
    assert done.outcome.rows[0].result.scores["ndcg@10"] > 0.9  # the plant's number stands on its page alone
    assert "TripletLoss" in (done.model / "README.md").read_text()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('data.columns=["query", "page"]', ["[data]", "no column 'page'", "query, image, negative_0"]),
        ('evaluation.columns=["query"]', ["evaluation.columns needs"]),
        ("evaluation.split=test", ["[evaluation]", "cannot be opened", "test"]),
        ("data.subset=other", ["[data]", "cannot be opened", "other"]),
        ("data.dataset=/nowhere/pages", ["[data]", "/nowhere/pages", "cannot be opened"]),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    texts: Path, tmp_path: Path, tiny: Any, override: str, words: list[str]
) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        run_recipe(plan(texts, tmp_path / "run", tiny("bert"), override))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_images_are_refused_for_a_model_of_texts(stage: Stage, tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(InputError, match=r"evaluation document 0:image .*this model reads text, not image"):
        run_recipe(plan(stage.few, tmp_path / "run", tiny("bert")))


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "saved", "splits", "arrow"])
def test_tables_in_every_format(kind: str, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict(
        {"query": ["a", "b", "c"], "page": ["1x", "2x", "3x"], "more": [1, 2, 3]}
    )
    path = tmp_path / f"table.{kind}"
    if kind == "parquet":
        rows.to_parquet(str(path))
    elif kind == "jsonl":
        rows.to_json(str(path))
    elif kind == "csv":
        rows.to_csv(str(path))
    elif kind == "splits":
        datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(path))
    else:
        rows.save_to_disk(str(path))
        if kind == "arrow":
            path = next(path.glob("*.arrow"))
    found = open_table(
        str(path),
        subset=None,
        split="train",
        revision=None,
        columns=["page", "query"],
        max_rows=2,
        source="r.toml",
    )
    assert found.column_names == ["page", "query"]
    assert list(found["page"]) == ["1x", "2x"]
