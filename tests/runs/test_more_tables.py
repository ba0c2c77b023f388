"""A recipe that trains on several tables, each with its loss."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sightline.config.load import load_recipe, recipe_from
from sightline.errors import ConfigError, DataError
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.evaluation.saved import read_results
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.runs.first_search import first_search
from sightline.runs.further import further_materials
from sightline.runs.material import material_of
from sightline.runs.rerankers import RerankerSubject
from sightline.runs.train import run_recipe
from sightline.training.distributed import ALONE
from support import tiny_rerankers
from support.adapted import trained

WORDS = ("pump", "valve", "report", "table", "chart", "plant")


@pytest.fixture
def table(tiny: Callable[[str], Path], tmp_path: Path) -> dict[str, Any]:
    """A recipe over two tables of JSON lines."""
    pairs = [{"query": f"how many {w} {n}", "text": f"{n} {w} in all"} for n, w in enumerate(WORDS)]
    scored = [{"a": w, "b": f"a {WORDS[n // 2]}", "score": (n % 3) / 2} for n, w in enumerate(WORDS * 2)]
    for name, rows in (("pairs", pairs), ("scored", scored)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "model": {"name": str(tiny("bert")), "device": "cpu"},
        "data": {"dataset": str(tmp_path / "pairs.jsonl"), "columns": ["query", "text"]},
        "more": {
            "similar": {
                "dataset": str(tmp_path / "scored.jsonl"),
                "columns": ["a", "b", "score"],
                "loss": {"name": "cosent", "temperature": 0.1},
            }
        },
        "training": {
            "per_device_train_batch_size": 3,
            "num_train_epochs": 1,
            "multi_dataset_batch_sampler": "round_robin",
            "prompts": {"similar": "compare: "},
            "dataloader_num_workers": 0,
            "logging_steps": 4,
            "save_strategy": "steps",
            "save_steps": 4,
        },
        "evaluation": {"split": "train", "bm25": False, "untuned": False},
        "output": {"dir": str(tmp_path / "run"), "report": False},
    }


def test_each_table_has_its_loss_and_its_turn(table: dict[str, Any], tmp_path: Path) -> None:
    told = io.StringIO()
    table["more"]["similar"]["evaluation"] = {"split": "train", "max_rows": 6}
    done = run_recipe(recipe_from(table), console=Console(file=told, width=200))
    (row,) = done.further["similar"].rows
    assert (row.result.corpus_size, list(row.result.queries.values())[:2]) == (6, ["pump", "valve"])
    assert done.further["similar"].facts["fingerprint"] != done.outcome.facts.get("fingerprint")
    found = further_materials(recipe_from(table))["similar"].evaluator("")
    assert found.query_options["prompt"] == found.document_options["prompt"] == "compare: "
    assert "6 pairs of 'data', 12 of 'similar' to train on" in told.getvalue()
    state = json.loads((tmp_path / "run" / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text())
    entry = state["log_history"][0]
    assert (entry["data_batches"], entry["similar_batches"]) == (2, 2)
    assert entry["data_loss"] == entry["data_infonce"]
    assert entry["similar_loss"] == entry["similar_cosent"]
    again = load_recipe(done.output / "resolved.toml")
    assert again.more["similar"].loss is not None
    assert again.more["similar"].loss.name == "cosent"


def test_what_is_wrong_with_a_table_is_named(table: dict[str, Any]) -> None:
    more = table["more"]["similar"]
    for change, error, message in (
        ({"more": {"data": more}}, ConfigError, "more.data: that is the name of .data. itself"),
        ({"more": {"similar": more | {"columns": []}}}, ConfigError, r"\[more.similar\]: columns is empty"),
        ({"more": {"similar": more | {"columns": ["a", "c"]}}}, DataError, r"\[more.similar\].*'c'"),
        ({"more": {"similar": more | {"loss": {"name": "cosnet"}}}}, ConfigError, "did you mean 'cosent'"),
        ({"more": {"similar": more | {"speed": 3}}}, ConfigError, "unknown key more.similar.speed"),
    ):
        with pytest.raises(error, match=message):
            run_recipe(recipe_from(table | change))


def reranking(table: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    model = {"name": str(tiny_rerankers.bert_scores(tmp_path / "bert")), "kind": "reranker", "device": "cpu"}
    more = table["more"]["similar"] | {"loss": {"name": "score_mse"}}
    return table | {
        "model": model,
        "data": table["data"] | {"negatives": 2},
        "loss": {"name": "binary_cross_entropy"},
        "more": {"similar": more},
    }


def similar_pages(table: dict[str, Any]) -> dict[str, str]:
    lines = Path(table["more"]["similar"]["dataset"]).read_text().splitlines()
    return {f"{row}:b": json.loads(line)["b"] for row, line in enumerate(lines)}


def saved_rows(path: Path) -> list[str]:
    return [row.name for row in read_results(path).rows]


def test_a_reranker_trains_on_several_tables_beside_an_adapter(table: dict[str, Any], tmp_path: Path) -> None:
    told = io.StringIO()
    retriever = table["model"]["name"]
    table["more"]["similar"]["evaluation"] = {"split": "train", "candidates": 2, "retriever": retriever}
    table["training"] |= {"eval_strategy": "steps", "eval_steps": 4}
    plan = recipe_from(reranking(table, tmp_path) | {"lora": {"r": 2}})
    done = run_recipe(plan, console=Console(file=told, width=200))
    own, similar = (found.rows[-1].result for found in (done.outcome, done.further["similar"]))
    assert own.facts["first search"] == "the row's own and others drawn at random"
    assert similar.facts["first search"] == f"the best of {retriever}"
    best = Encoder.from_pretrained(retriever, device="cpu")
    pages = similar_pages(table)
    scores = best.similarity(best.encode_query(["pump"]), best.encode_document(list(pages.values())))[0]
    two = {list(pages)[place] for place in scores.topk(2).indices.tolist()}
    assert {page for page, _ in similar.top["0:a"]} == two
    assert saved_rows(done.output / "results-similar.json") == ["fine-tuned"]
    log = (done.output / "results.json").read_text()
    assert '"eval_ndcg@10"' in log
    assert '"eval_similar_ndcg@10"' in log
    assert "18 pairs of 'data', 12 of 'similar' to train on" in told.getvalue()
    state = json.loads((tmp_path / "run" / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text())
    entry = state["log_history"][0]
    assert entry["data_loss"] == entry["data_binary_cross_entropy"]
    assert entry["similar_loss"] == entry["similar_score_mse"]
    assert (done.model / "adapter_model.safetensors").is_file()
    assert trained(done.encoder) < {name for name, _ in done.encoder.named_parameters()}
    pairs = [("how many pumps", "3 pumps in all"), ("how many charts", "a valve")]
    saved = Reranker.from_pretrained(done.model, device="cpu").predict(pairs)
    assert saved.tolist() == pytest.approx(done.encoder.predict(pairs).tolist(), abs=1e-5)


def test_settings_of_the_other_kind_of_model_are_refused(table: dict[str, Any], tmp_path: Path) -> None:
    for change in (
        {"model": {"head": "pooled"}},
        {"model": {"answers": ["a", "b"]}},
        {"data": {"negatives": 2}},
    ):
        ((part, value),) = change.items()
        with pytest.raises(ConfigError, match=rf"{part}.{next(iter(value))} is for a reranker"):
            run_recipe(recipe_from(table | {part: table[part] | value}))
    searched = {
        "similar": table["more"]["similar"] | {"evaluation": {"split": "train", "retriever": "some/model"}}
    }
    with pytest.raises(ConfigError, match=r"more.similar.evaluation.retriever is for a reranker"):
        run_recipe(recipe_from(table | {"more": searched}))
    more = {"similar": table["more"]["similar"] | {"negatives": 1}}
    with pytest.raises(ConfigError, match=r"more.similar.negatives is for a reranker"):
        run_recipe(recipe_from(table | {"more": more}))
    with pytest.raises(ConfigError, match="a reranker has no routes"):
        run_recipe(recipe_from(reranking(table, tmp_path) | {"lora": {"routes": ["image"]}}))


def test_what_a_reranker_cannot_train_is_refused_in_every_loss(table: dict[str, Any], tmp_path: Path) -> None:
    plan = reranking(table, tmp_path)
    more = plan["more"]["similar"]
    for loss, word in (
        ({"name": "score_mse", "layers": {}}, "remove more.similar.loss.layers"),
        ({"name": "score_mse", "matryoshka": {"dims": [4]}}, "remove more.similar.loss.matryoshka"),
        ({"name": "cosent"}, "CoSENT is for the vectors of an Encoder"),
        ({"name": "cross_entropy"}, "CrossEntropy needs a score per class"),
    ):
        with pytest.raises(ConfigError, match=word):
            run_recipe(recipe_from(plan | {"more": {"similar": more | {"loss": loss}}}))
    assert not (tmp_path / "run").exists()


def test_the_default_prompt_of_a_recipe_is_the_model_s(table: dict[str, Any]) -> None:
    from sightline.runs.check import shape_of
    from sightline.runs.encoders import load_encoder

    table["model"] |= {"prompts": {"ask": "Ask: "}, "default_prompt_name": "ask"}
    for load in (load_encoder, shape_of):
        assert load(recipe_from(table)).prompt_for(None) == "Ask: "


def test_routes_with_default_prompts_of_their_own(
    table: dict[str, Any], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    from sightline.runs.check import shape_of
    from sightline.runs.encoders import load_encoder

    prompts = {"query": "Ask: ", "document": "Page: "}
    routes = {}
    for route, name, default in (("text", "bert", "query"), ("image", "vit", "document")):
        encoder = Encoder.from_pretrained(
            tiny(name), device="cpu", prompts=prompts, default_prompt_name=default
        )
        encoder.save_pretrained(tmp_path / route, verify=False)
        routes[route] = str(tmp_path / route)
    table["model"] = {"routes": routes, "dim": 16, "device": "cpu"}
    for load in (load_encoder, shape_of):
        with pytest.raises(ConfigError, match="default_prompt_name"):
            load(recipe_from(table))
    table["model"]["default_prompt_name"] = "query"
    for load in (load_encoder, shape_of):
        assert load(recipe_from(table)).prompt_for(None) == "Ask: "


def test_prompts_of_a_table_go_by_its_columns_without_the_label(table: dict[str, Any]) -> None:
    table["more"]["similar"] |= {"columns": ["score", "a", "b"], "evaluation": {"split": "train"}}
    table["training"]["prompts"] = {"similar": {"a": "A: ", "b": "B: "}}
    found = further_materials(recipe_from(table))["similar"].evaluator("")
    assert (found.query_options["prompt"], found.document_options["prompt"]) == ("A: ", "B: ")


def test_a_new_head_is_that_of_the_seed(table: dict[str, Any], tiny: Callable[[str], Path]) -> None:
    plan = recipe_from(
        table
        | {"model": {"name": str(tiny("bert")), "kind": "reranker", "device": "cpu"}, "more": {}}
        | {"data": table["data"] | {"negatives": 2}, "loss": {"name": "binary_cross_entropy"}}
    )
    material, heads = material_of(plan), []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        model = RerankerSubject(plan, material, seed=seed).model
        heads.append({name: one for name, one in model.named_parameters() if "classifier" in name})
    assert heads[0]
    torch.testing.assert_close(heads[1], heads[0], atol=0, rtol=0)
    assert any(not torch.equal(one, heads[0][name]) for name, one in heads[2].items())


def test_ranks_share_a_retriever_s_search(table: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    material, given = material_of(recipe_from(table)), []
    evaluate = RetrievalEvaluator.evaluate

    def noted(self: RetrievalEvaluator, encoder: Any, ranks: Any = None) -> Any:
        given.append(ranks)
        return evaluate(self, encoder, ranks)

    monkeypatch.setattr(RetrievalEvaluator, "evaluate", noted)
    found = [
        first_search(material, 2, retriever=table["model"]["name"], device="cpu", seed=0, ranks=ranks)
        for ranks in (None, ALONE)
    ]
    assert given == [None, ALONE]
    assert found[0] == found[1]
    assert {len(pages) for pages in found[0].run.values()} == {2}


def test_token_vectors_are_not_cut_on_saving_which_is_said_first(
    table: dict[str, Any], tmp_path: Path
) -> None:
    from sightline.runs.encoders import load_encoder

    tokens = Encoder.from_pretrained(table["model"]["name"], device="cpu", multi_vector=True)
    tokens.save_pretrained(tmp_path / "tokens", verify=False)
    table["model"] |= {"name": str(tmp_path / "tokens"), "truncate_dim": 8}
    with pytest.raises(ConfigError, match=r"remove model\.truncate_dim"):
        load_encoder(recipe_from(table))
