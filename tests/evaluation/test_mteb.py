"""Models behind mteb's protocols, in mteb's own evaluation of tasks built on the spot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Image
from PIL import Image as PILImage

import sightline as sl
from sightline.errors import ConfigError
from support import tiny_late, tiny_models, tiny_rerankers

TEXTS = [
    "pumps and valves of the plant", "an annual report of revenue", "seals for the pump", "a chart of costs by region",
    "the pressure gauge is broken", "employees since 2019", "a diagram of valves", "report on the northern plants",
    "revenue of the region", "operating costs in a table", "water and oil", "the board and its members",
]  # fmt: skip
QUERIES = ["pump seals", "revenue by region", "costs", "who works there", "gauge"]
RELEVANT = {
    "q0": {"d0": 1, "d2": 1},
    "q1": {"d1": 1, "d8": 1},
    "q2": {"d3": 1, "d9": 1},
    "q3": {"d5": 1},
    "q4": {"d4": 1},
}


def task(
    kind: str = "Retrieval", *, corpus: Dataset | None = None, ranked: dict[str, list[str]] | None = None
) -> Any:
    """A task of mteb over the texts above, or over another corpus."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    given = corpus
    category, modalities = ("t2t", ["text"]) if corpus is None else ("t2i", ["text", "image"])

    class Plant(AbsTaskRetrieval):
        metadata = TaskMetadata(
            type=kind, name="Plant", main_score="ndcg_at_10", description="Texts of a plant.",
            reference="https://example.org", dataset={"path": "none", "revision": "none"}, category=category,
            eval_splits=["test"], eval_langs=["eng-Latn"], date=("2026-01-01", "2026-01-02"), dialect=[], domains=[],
            task_subtypes=[], license="cc-by-4.0", annotations_creators="derived", modalities=modalities,
            sample_creation="found", bibtex_citation="",
        )  # fmt: skip

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            documents = given or Dataset.from_list(
                [{"id": f"d{n}", "text": text} for n, text in enumerate(TEXTS)]
            )
            queries = Dataset.from_list([{"id": f"q{n}", "text": text} for n, text in enumerate(QUERIES)])
            split = RetrievalSplitData(
                corpus=documents, queries=queries, relevant_docs=RELEVANT, top_ranked=ranked
            )
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Plant()


def evaluated(model: Any, one: Any, **options: Any) -> dict[str, float]:
    """What mteb itself finds."""
    import mteb

    from sightline.evaluation.mteb import for_mteb

    results = mteb.evaluate(for_mteb(model), tasks=[one], cache=None, raise_error=True, encode_kwargs=options)
    return dict(results.task_results[0].scores["test"][0])


def own(encoder: sl.Encoder, corpus: dict[str, Any]) -> float:
    queries = {f"q{n}": text for n, text in enumerate(QUERIES)}
    result = sl.RetrievalEvaluator(
        queries, corpus, {key: set(pages) for key, pages in RELEVANT.items()}
    ).evaluate(encoder)
    return result.scores.mean["ndcg@10"]


def texts() -> dict[str, Any]:
    return {f"d{n}": text for n, text in enumerate(TEXTS)}


def test_an_encoder_retrieves_as_in_our_evaluation(tmp_path: Path) -> None:
    encoder = sl.Encoder.from_pretrained(tiny_models.bert(tmp_path / "bert"))
    found = evaluated(encoder, task())
    assert 0 < found["ndcg_at_10"] < 1
    assert found["ndcg_at_10"] == pytest.approx(own(encoder, texts()), abs=1e-5)  # mteb rounds to five digits


def test_prompts_are_chosen_by_task_and_side(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path / "bert")
    with_prompts = sl.Encoder.from_pretrained(
        folder, prompts={"query": "who asks ", "Plant-query": "pump pump pump "}
    )
    named = sl.Encoder.from_pretrained(folder, prompts={"query": "pump pump pump "})
    for_task, for_side = evaluated(with_prompts, task()), evaluated(named, task())
    assert for_task["ndcg_at_10"] == for_side["ndcg_at_10"] == pytest.approx(own(named, texts()), abs=1e-5)


def test_page_images_are_retrieved(tmp_path: Path) -> None:
    encoder = sl.Encoder.from_pretrained(tiny_models.clip(tmp_path / "clip"))
    chance = np.random.default_rng(0)
    pages = [PILImage.fromarray(chance.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in TEXTS]
    corpus = Dataset.from_dict({"id": [f"d{n}" for n in range(len(pages))], "image": pages}).cast_column(
        "image", Image()
    )
    found = evaluated(encoder, task("Any2AnyRetrieval", corpus=corpus))
    expected = own(encoder, {f"d{n}": page for n, page in enumerate(pages)})
    assert found["ndcg_at_10"] == pytest.approx(expected, abs=1e-5)


def test_late_interaction_searches_with_maxsim(tmp_path: Path) -> None:
    encoder = sl.Encoder.from_pretrained(tiny_late.modernbert(tmp_path / "late"), multi_vector=True)
    found = evaluated(encoder, task())
    assert found["ndcg_at_10"] == pytest.approx(own(encoder, texts()), abs=1e-5)


def ranked() -> dict[str, list[str]]:
    return {f"q{n}": [f"d{place}" for place in range(n, n + 5)] for n in range(len(QUERIES))}


def test_a_reranker_orders_the_candidates(tmp_path: Path) -> None:
    reranker = sl.Reranker.from_pretrained(tiny_rerankers.bert_scores(tmp_path / "bert"))
    found = evaluated(reranker, task("Reranking", ranked=ranked()))
    gains = []
    for number, (query, pages) in enumerate(ranked().items()):
        scores = reranker.predict([(QUERIES[number], TEXTS[int(page[1:])]) for page in pages])
        order = [pages[place] for place in np.argsort(-scores, kind="stable")]
        hits = [page in RELEVANT[query] for page in order[:10]]
        ideal = sum(1 / np.log2(place + 2) for place in range(len(RELEVANT[query])))
        gains.append(sum(hit / np.log2(place + 2) for place, hit in enumerate(hits)) / ideal)
    assert found["ndcg_at_10"] == pytest.approx(float(np.mean(gains)), abs=1e-5)


def test_late_interaction_reranks_candidates(tmp_path: Path) -> None:
    encoder = sl.Encoder.from_pretrained(tiny_late.modernbert(tmp_path / "late"), multi_vector=True)
    among = evaluated(encoder, task("Reranking", ranked=ranked()))
    everything = evaluated(encoder, task())
    assert among["recall_at_100"] < everything["recall_at_100"] == 1  # what was not a candidate is not found


def test_a_precision_of_mtebs_is_refused(tmp_path: Path) -> None:
    encoder = sl.Encoder.from_pretrained(tiny_models.bert(tmp_path / "bert"))
    with pytest.raises(ConfigError, match="precision is float32 here"):
        evaluated(encoder, task(), precision="int8")


def test_sightline_does_without_mteb() -> None:
    assert "mteb" not in {name.split(".")[0] for name in vars(sl)}
    import subprocess

    told = subprocess.run(
        [sys.executable, "-c", "import sys, sightline.evaluation.retrieval; print('mteb' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == "False"
