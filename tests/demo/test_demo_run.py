"""`sightline demo` in small: every stage runs, and what it leaves behind holds together."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sightline.demo.model import FUSION, build_default, minilm_folder
from sightline.demo.run import run_demo
from sightline.demo.tower import TowerRecipe
from sightline.documents.dataset import Dataset
from sightline.models.encoder import Encoder
from sightline.search.index import open_index
from sightline.search.searcher import Searcher

SMALL = TowerRecipe(side=96, patch=32, hidden=24, layers=1, heads=2, epochs=1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "run"
    told = io.StringIO()
    overrides = (
        "training.max_steps=1",
        "training.per_device_train_batch_size=8",
        "evaluation.dims=[384, 64]",
    )
    run_demo(folder, console=Console(file=told, width=160), documents=12, tower=SMALL, overrides=overrides)
    return folder, told.getvalue()


def test_the_table_has_every_row_and_is_written(demo: tuple[Path, str]) -> None:
    folder, told = demo
    rows = json.loads((folder / "results.json").read_text())["rows"]
    seen = [(row["name"], row["fields"]) for row in rows]
    views = ("text", "image", "both")
    assert seen == [("bm25", "text"), *(("untuned", v) for v in views), *(("fine-tuned", v) for v in views)]
    for row in rows:
        assert 0 <= row["ndcg@10"] <= 1
        assert row["name"] == "bm25" or {"ndcg@10@384", "ndcg@10@64", "map", "recall@10"} <= set(row)
    assert all(f"{row['ndcg@10']:.3f}" in told for row in rows)


def test_it_ends_with_the_next_step(demo: tuple[Path, str]) -> None:
    folder, told = demo
    end = told[told.index("What to do next") :]
    assert str(folder / "report.html") in end
    assert f"sightline serve {folder / 'index'} --open" in end
    assert "recipes/qwen3-vl-embedding-2b.toml" in end
    assert (Path(__file__).parents[2] / "recipes" / "qwen3-vl-embedding-2b.toml").is_file()
    assert (folder / "report.html").stat().st_size > 20_000


def test_no_test_document_was_trained_on(demo: tuple[Path, str]) -> None:
    dataset = Dataset.load(demo[0] / "dataset")
    train = {question.document for question in dataset.questions("train")}
    assert train.isdisjoint(question.document for question in dataset.questions("test"))


def test_the_model_answers_through_its_index(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    encoder = Encoder.from_pretrained(folder / "final", device="cpu")
    found = Searcher(open_index(folder / "index", encoder), encoder).search("Who chairs the board?", top_k=3)
    assert len(found) == 3
    assert encoder.supports(("text", "image"))


def test_sentence_transformers_reads_both_routes(demo: tuple[Path, str]) -> None:
    from sentence_transformers import SentenceTransformer

    folder, _ = demo
    image = next((folder / "dataset" / "images").rglob("*.jpg"))
    ours, theirs = (
        Encoder.from_pretrained(folder / "final", device="cpu"),
        SentenceTransformer(str(folder / "final"), device="cpu"),
    )
    # Opened, because a large JPEG that is given by its path is decoded near the size the model takes.
    for value in ("how many employees?", Image.open(image).convert("RGB")):
        np.testing.assert_allclose(ours.encode(value).numpy()[0], theirs.encode([value])[0], atol=1e-5)


def test_a_page_with_text_and_image_is_the_weighted_sum(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    encoder = Encoder.from_pretrained(folder / "final", device="cpu")
    image = next((folder / "dataset" / "images").rglob("*.jpg"))
    both = encoder.encode({"text": "a page", "image": image}).numpy()[0]
    text, picture = encoder.encode("a page").numpy()[0], encoder.encode(image).numpy()[0]
    wanted = FUSION["text"] * text + FUSION["image"] * picture
    np.testing.assert_allclose(both, wanted / np.linalg.norm(wanted), atol=1e-6)


def test_the_default_model_is_the_same_every_time() -> None:
    first, second = (build_default(SMALL, device="cpu").state_dict() for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
    assert (minilm_folder() / "model.safetensors").is_file()
