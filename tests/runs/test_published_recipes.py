"""Recipes for published models and data, run as they stand with a tiny model and a tiny table in their places."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sightline.config.load import load_recipe
from sightline.errors import ConfigError, DataError, InputError
from sightline.models.encoder import Encoder
from sightline.runs.tables import open_table
from sightline.runs.train import RunResult, run_recipe
from support import published

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
# What a machine without a GPU cannot do, and processes that are not worth starting for a few rows.
HERE = ("model.attn_implementation=sdpa", "training.dataloader_num_workers=0")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`datasets` keeps what it reads here for the time of these tests."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.table(tmp_path_factory.mktemp("table") / "pages", train=70, held_out=4)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.table(tmp_path_factory.mktemp("table") / "texts", train=12, held_out=4, text=True)


def run(name: str, *overrides: str, told: io.StringIO | None = None) -> RunResult:
    recipe = load_recipe(RECIPES / f"{name}.toml", [*HERE, *overrides])
    return run_recipe(recipe, console=Console(file=told or io.StringIO(), width=200))


def test_qwen3_vl_embedding_on_visual_document_retrieval(table: Path, tmp_path: Path) -> None:
    model = published.qwen3_vl(tmp_path / "Qwen3-VL-Embedding-2B")
    told = io.StringIO()
    done = run(
        "qwen3-vl-embedding-2b-vdr",
        f"model.name={model}",
        f"data.dataset={table}",
        f"output.dir={tmp_path / 'run'}",
        told=told,
    )
    assert "70 pairs to train on; to measure with, 4 questions over 20 documents" in told.getvalue()
    dims = [2048, 1536, 1024, 512, 256, 128, 64]
    assert [row.name for row in done.outcome.rows] == ["untuned", "fine-tuned"]  # pages have no text for BM25
    for row in done.outcome.rows:
        assert list(row.result.by_dim) == dims
        assert (len(row.result.queries), row.result.corpus_size) == (4, 20)
        assert all(len(judged) == 1 for judged in row.result.relevant.values())
    assert "step 2/2  evaluation: ndcg@10" in told.getvalue()
    left = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert left == ["checkpoint-1", "checkpoint-2", "eval"]
    saved = Encoder.from_pretrained(done.model, device="cpu", dtype="bfloat16")
    assert saved.encode("pages").shape == (1, 1024)
    image = saved.backbones()[""].processor.processor.image_processor
    assert image.size["longest_edge"] == 600 * 600
    card = (done.model / "README.md").read_text()
    assert "| **fine-tuned** | 1024 |" in card
    assert "loss:MatryoshkaLoss" in card
    assert "4 questions over 20 documents" in card
    report = (tmp_path / "run" / "report.html").read_text()
    assert "How many employees worked in plant 71?" in report
    resolved = tomllib.loads((tmp_path / "run" / "resolved.toml").read_text())
    assert resolved["loss"]["similarity"] == "cosine"
    assert resolved["evaluation"]["dims"] == dims
    again = load_recipe(tmp_path / "run" / "resolved.toml")
    assert (
        again.data == load_recipe(RECIPES / "qwen3-vl-embedding-2b-vdr.toml", [f"data.dataset={table}"]).data
    )


def test_lora_on_visual_document_retrieval(table: Path, tmp_path: Path) -> None:
    model = published.qwen3_vl(tmp_path / "Qwen3-VL-Embedding-2B")
    done = run(
        "qwen3-vl-embedding-2b-vdr-lora",
        f"model.name={model}",
        f"data.dataset={table}",
        f"output.dir={tmp_path / 'run'}",
    )
    # The adapter stays beside the base model, whose weights are not written again.
    assert list(done.model.rglob("adapter_model.safetensors"))
    assert not list(done.model.rglob("model.safetensors"))
    before = Encoder.from_pretrained(model, device="cpu").encode("a page of plant 3")
    after = Encoder.from_pretrained(done.model, device="cpu", truncate_dim=2048).encode("a page of plant 3")
    assert float((after.values - before.values).norm() / before.values.norm()) > 1e-4
    # What was saved gives the vectors of the model in memory, to the bit.
    loaded = Encoder.from_pretrained(done.model, device="cpu", dtype="bfloat16").encode("a page of plant 3")
    assert torch.equal(loaded.values, done.encoder.encode("a page of plant 3").values)


def test_a_router_of_light_encoders(table: Path, tmp_path: Path) -> None:
    from support import tiny_models

    text, image = tiny_models.bert(tmp_path / "text"), tiny_models.vit(tmp_path / "image", hidden=16)
    done = run(
        "router-minilm-dinov2",
        f"model.routes.text={text}",
        f"model.routes.image={image}",
        "model.dim=32",  # the width of the text model, as 384 is that of MiniLM
        f"data.dataset={table}",
        f"output.dir={tmp_path / 'run'}",
    )
    saved = Encoder.from_pretrained(done.model, device="cpu")
    assert set(saved.modalities) == {"text", "image"}
    # What is frozen gives the vectors it gave before.
    bare = Encoder.from_pretrained(text, device="cpu")
    assert float((saved.encode("hello").values - bare.encode("hello").values).abs().max()) < 1e-6


@pytest.mark.parametrize("kind", ["any-to-any", "feature-extraction"])
def test_rerankers(kind: str, table: Path, tmp_path: Path) -> None:
    from sightline.models.reranker import Reranker
    from support import tiny_models

    model = tiny_models.qwen3_vl(tmp_path / "Qwen3.5-0.8B")
    told = io.StringIO()
    done = run(
        f"reranker-qwen3.5-0.8b-{kind}",
        f"model.name={model}",
        f"data.dataset={table}",
        f"more.image_to_text.dataset={table}",
        f"output.dir={tmp_path / 'run'}",
        "training.max_steps=2",
        told=told,
    )
    # Each row's page and its four negatives; each page's question and four others.
    assert "350 pairs of 'data', 350 of 'image_to_text' to train on" in told.getvalue()
    assert [row.name for row in done.outcome.rows] == ["untuned", "fine-tuned"]
    assert done.outcome.rows[0].result.corpus_size == 20
    assert all(len(found) == 10 for found in done.outcome.rows[0].result.top.values())
    reranker = Reranker.from_pretrained(done.model, device="cpu", dtype="bfloat16")
    assert reranker.default_prompt_name == "match"
    scores = reranker.predict([("How many?", {"text": "a page"}), ("How many?", {"text": "another page"})])
    assert scores.shape == (2,)
    assert "pipeline_tag: text-ranking" in (done.model / "README.md").read_text()


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


def test_images_are_refused_for_a_model_of_texts(table: Path, tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(InputError, match=r"evaluation document 0:image .*this model reads text, not image"):
        run_recipe(plan(table, tmp_path / "run", tiny("bert")))


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
