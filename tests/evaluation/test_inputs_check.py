"""Queries and documents that a model does not take: found before the first step, and called by their ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sightline.errors import ConfigError, DataError, InputError
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.tiny_rerankers import bert_scores

PAGE = Image.new("RGB", (32, 32), "red")
RELEVANT = {"q7": {"d1"}}
MESSAGE = [{"role": "user", "content": "the pump"}]


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A page that can be hashed, and not opened to its end."""
    path = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    settled = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "no"} | options
    return TrainingArguments(
        output_dir=str(folder), disable_tqdm=True, per_device_train_batch_size=2, **settled
    )


@pytest.fixture(scope="module")
def pages(tiny: Callable[[str], Path]) -> Encoder:
    """Text queries, image documents."""
    routes = {
        name: Encoder.from_pretrained(tiny(model), device="cpu")
        for name, model in (("words", "bert"), ("pages", "vit"))
    }
    return Encoder.from_routes(routes, mappings={("query", "text"): "words", ("document", "image"): "pages"})


@pytest.mark.parametrize(
    ("query", "document", "reasons"),
    [
        ("a pump", "the pump", ["document 'd2': no route takes 'text' items as document"]),
        (PAGE, PAGE, ["query 'q7': no route takes 'image' items as query"]),
        ("a pump", "nowhere.png", ["document 'd2': nowhere.png: no such file"]),
        ("a pump", None, ["document 'd2': the value is missing"]),
        ("a pump", "{cut}", ["document 'd2'", "truncated or damaged"]),
    ],
    ids=["route", "role", "file", "missing", "cut"],
)
def test_what_is_wrong_is_called_by_its_id(
    query: Any, document: Any, reasons: list[str], pages: Encoder, cut: Path
) -> None:
    document = str(cut) if document == "{cut}" else document
    evaluator = RetrievalEvaluator({"q7": query}, {"d1": PAGE, "d2": document}, RELEVANT)
    with pytest.raises(DataError, match="1 of 3 inputs of the evaluation cannot be used") as caught:
        evaluator.check_inputs(pages)
    with pytest.raises(InputError) as caught_later:
        evaluator(pages)
    for reason in reasons:
        assert reason in str(caught.value)
        assert reason in str(caught_later.value)


@pytest.mark.parametrize("looks", [True, False])
def test_a_run_looks_before_its_first_step(looks: bool, pages: Encoder, tmp_path: Path) -> None:
    evaluator = RetrievalEvaluator({"q7": "a pump"}, {"d1": PAGE, "d2": "the pump"}, RELEVANT)
    rows = [{"q": "a pump", "d": PAGE}] * 2
    args = arguments(tmp_path / "run", check_data=looks)
    trainer = Trainer(pages, InfoNCE(), train_dataset=rows, evaluator=evaluator, args=args)
    with pytest.raises((DataError, InputError), match="document 'd2': no route takes 'text' items"):
        trainer.train()
    assert trainer.state.global_step == (0 if looks else 1)


def test_the_look_can_be_done_without_a_trainer_and_in_processes(pages: Encoder, cut: Path) -> None:
    corpus = {f"d{n}": PAGE for n in range(70)} | {"d40": cut, "d69": "a text"}
    evaluator = RetrievalEvaluator({"q7": "a pump"}, corpus, RELEVANT)
    evaluator.check(pages)
    with pytest.raises(DataError, match="2 of 71 inputs") as caught:
        evaluator.check_inputs(pages, num_workers=2)
    assert "document 'd40'" in str(caught.value)
    assert "document 'd69': no route takes" in str(caught.value)
    RetrievalEvaluator({"q7": "a pump"}, {"d1": PAGE}, RELEVANT).check_inputs(pages)


def test_a_path_for_a_model_that_would_read_it_as_text(
    tiny_encoder: Callable[[str], Encoder], cut: Path
) -> None:
    evaluator = RetrievalEvaluator({"q7": "a pump"}, {"d1": "the pump", "d2": str(cut)}, RELEVANT)
    with pytest.raises(DataError, match=r"document 'd2': .*holds image, and this model reads text"):
        evaluator.check_inputs(tiny_encoder("bert"))


def test_prompts_that_the_model_has_not(
    tiny_encoder: Callable[[str], Encoder], rerankers: Callable[[], Reranker]
) -> None:
    evaluator = RetrievalEvaluator(
        {"q7": "a"}, {"d1": "b"}, RELEVANT, document_options={"prompt_name": "page"}
    )
    with pytest.raises(ConfigError, match="no prompt named 'page'"):
        evaluator.check(tiny_encoder("bert"))
    ranking = RerankingEvaluator(
        [{"query": "a", "positive": "b", "negative": "c"}], options={"prompt_name": "match"}
    )
    with pytest.raises(ConfigError, match="no prompt named 'match'"):
        ranking.check(rerankers())


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Reranker]:
    loaded = Reranker.from_pretrained(bert_scores(tmp_path_factory.mktemp("bert")), device="cpu")
    return lambda: loaded


SAMPLES = [
    {"query": "a pump", "positive": ["the pump"], "negative": ["a page"]},
    {"query": "a page", "positive": "the page", "negative": ["a pump", MESSAGE]},
]


@pytest.mark.parametrize("kind", ["samples", "run"])
def test_pairs_are_called_by_their_ids(kind: str, rerankers: Callable[[], Reranker]) -> None:
    reranker = rerankers()
    if kind == "samples":
        evaluator, name = RerankingEvaluator(SAMPLES), "sample 1, 'query' with 'negative[1]'"
    else:
        corpus = {"d1": "the pump", "d2": MESSAGE, "d3": "a page"}
        run = {"q7": {"d1": 3.0, "d2": 2.0, "d3": 1.0}, "q8": {"d2": 1.0}}
        queries = {"q7": "a pump", "q8": "a page"}
        relevant = {"q7": {"d1"}, "q8": {"d2"}}
        evaluator, name = RerankingEvaluator.of_run(queries, corpus, relevant, run), "document 'd2'"
    with pytest.raises(DataError, match="inputs of the evaluation cannot be used") as caught:
        evaluator.check_inputs(reranker)
    assert name in str(caught.value)
    with pytest.raises(InputError) as caught_later:
        evaluator(reranker)
    assert name in str(caught_later.value)


def test_documents_of_many_queries_are_looked_at_once(rerankers: Callable[[], Reranker]) -> None:
    corpus = {f"d{n}": f"page {n}" for n in range(6)}
    queries = {f"q{n}": f"pump {n}" for n in range(9)}
    run = {qid: {docid: float(len(docid)) for docid in corpus} for qid in queries}
    relevant = {qid: {"d0"} for qid in queries}
    evaluator = RerankingEvaluator.of_run(queries, corpus, relevant, run, depths=(5,))
    (asked,) = evaluator.asked(rerankers())
    sides = [[part.value for part in item.parts] for item in asked.items]
    assert {query for query, _ in sides} == set(queries.values())
    assert len({document for _, document in sides}) == 5
    assert len(sides) == 5 + len(queries) - 1
