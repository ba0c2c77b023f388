"""Options through `sightline.compat`: ST's results where they can be had, and an error that names them where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import sentence_transformers
import torch
from PIL import Image
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer import evaluation, modules
from sentence_transformers.util import cos_sim, dot_score

from sightline import compat
from sightline.errors import ConfigError
from support.fixtures import TEXTS
from support.reranker_rows import samples, triplets
from support.tiny_answers import qwen3_answers
from support.tiny_rerankers import PAIRS, bert_scores

QUERIES = {1: "costs of the plant", 2: "a pump"}
CORPUS = dict(enumerate([*TEXTS, "pump and valves", "a table of costs"]))
RELEVANT = {1: {1, 6}, 2: {5}}


@pytest.fixture(scope="module")
def models(tiny: Callable[[str], Path]) -> tuple[Any, Any]:
    """Ours and theirs."""
    folder = str(tiny("bert"))
    return (
        compat.SentenceTransformer(folder, device="cpu", prompts={"query": "ask: "}),
        sentence_transformers.SentenceTransformer(folder, device="cpu", prompts={"query": "ask: "}),
    )


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Ours and theirs, of three labels."""
    folder = str(bert_scores(tmp_path_factory.mktemp("scorers") / "bert", labels=3))
    return compat.CrossEncoder(folder, device="cpu"), sentence_transformers.CrossEncoder(folder, device="cpu")


def same(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, list):
        assert [type(one) for one in found] == [type(one) for one in wanted]
        found, wanted = torch.stack(found), torch.stack(wanted)
    assert found.shape == wanted.shape
    assert np.abs(np.asarray(found) - np.asarray(wanted)).max() <= tolerance


# Models


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"batch_size": 1, "chunk_size": 2, "show_progress_bar": False, "device": "cpu"},
        {"normalize_embeddings": True, "truncate_dim": 8},
        {"precision": "binary"},
        {"prompt": "say: "},
    ],
    ids=str,
)
@pytest.mark.parametrize("inputs", [TEXTS, TEXTS[1]], ids=["several", "one"])
def test_encode_takes_st_s_options(inputs: Any, options: dict[str, Any], models: tuple[Any, Any]) -> None:
    ours, theirs = models
    if options == {"precision": "binary"} and isinstance(inputs, str):
        inputs = [inputs]
    same(ours.encode(inputs, **options), theirs.encode(inputs, **options))


def test_options_by_position(models: tuple[Any, Any]) -> None:
    ours, theirs = models
    same(ours.encode_query(TEXTS, None, "say: "), theirs.encode_query(TEXTS, None, "say: "))
    same(ours.encode(TEXTS, "query"), theirs.encode(TEXTS, "query"))
    same(ours.encode_document(TEXTS), theirs.encode_document(TEXTS))
    column = datasets.Dataset.from_dict({"text": TEXTS})["text"]
    same(ours.encode(column), theirs.encode(column))


def test_one_image_is_one_vector(tiny: Callable[[str], Path]) -> None:
    folder = str(tiny("vit"))
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    theirs = sentence_transformers.SentenceTransformer(folder, device="cpu")
    ours = compat.SentenceTransformer(folder, device="cpu")
    same(ours.encode(Image.fromarray(picture)), theirs.encode(Image.fromarray(picture)))
    assert ours.encode(picture).shape == (32,)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"apply_softmax": True},
        {"activation_fn": torch.nn.Sigmoid(), "convert_to_tensor": True},
        {"convert_to_numpy": False, "batch_size": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("pairs", [PAIRS, list(PAIRS[0])], ids=["several", "one"])
def test_predict_takes_st_s_options(pairs: Any, options: dict[str, Any], scorers: tuple[Any, Any]) -> None:
    ours, theirs = scorers
    same(ours.predict(pairs, **options), theirs.predict(pairs, **options))


def test_rank(tmp_path: Path) -> None:
    folder = str(bert_scores(tmp_path / "bert"))
    ours, theirs = (room.CrossEncoder(folder, device="cpu") for room in (compat, sentence_transformers))
    same(ours.predict(PAIRS[0]), theirs.predict(PAIRS[0]))  # a number
    query, documents = PAIRS[2][0], [document for _, document in PAIRS]
    options = {"top_k": 3, "return_documents": True, "batch_size": 2, "show_progress_bar": False}
    found, wanted = ours.rank(query, documents, **options), theirs.rank(query, documents, **options)
    assert [one["text"] for one in found] == [one["text"] for one in wanted]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in wanted], abs=1e-5)
    assert ours.max_length == ours.max_seq_length == theirs.max_seq_length == 64


def test_a_pooled_head_of_one_s_own(tmp_path: Path) -> None:
    """Every part of it is as the modules say: pooling, bias, several labels."""
    folder = str(qwen3_answers(tmp_path / "model", template=None))
    torch.manual_seed(0)
    weight, bias = torch.randn(2, 32), torch.randn(2)

    def made(room: Any, options: dict[str, Any]) -> Any:
        body = room.Transformer(folder)
        dense = room.Dense(
            32,
            2,
            activation_function=torch.nn.Tanh(),
            init_weight=weight,
            init_bias=bias,
            module_output_name="scores",
        )
        return room.CrossEncoder(
            modules=[body, room.Pooling(32, pooling_mode="mean"), dense], num_labels=2, **options
        )

    theirs = SimpleNamespace(
        Transformer=modules.Transformer, Dense=modules.Dense, Pooling=modules.Pooling,
        CrossEncoder=sentence_transformers.CrossEncoder, LogitScore=LogitScore,
    )  # fmt: skip
    wanted = made(theirs, {"device": "cpu"}).predict(PAIRS)
    assert wanted.shape == (len(PAIRS), 2)
    same(made(compat, {"device": "cpu"}).predict(PAIRS), wanted)


def test_a_classifier_out_of_modules(tmp_path: Path) -> None:
    folder = str(bert_scores(tmp_path / "bert"))
    found = compat.CrossEncoder(
        modules=[compat.Transformer(folder, transformer_task="sequence-classification")], device="cpu"
    )
    wanted = sentence_transformers.CrossEncoder(folder, device="cpu")
    same(found.predict(PAIRS), wanted.predict(PAIRS))


def test_what_is_set_is_the_model_s(tiny: Callable[[str], Path]) -> None:
    model = compat.SentenceTransformer(str(tiny("bert")), device="cpu")
    model.prompts = {"query": "ask: "}
    assert model.inner.prompts == {"query": "ask: "}
    assert model.to("cpu").eval() is model


def test_a_length_limit_is_set(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    long = ["pump, valves, seals " * 6, "short"]
    for room in ("SentenceTransformer", "CrossEncoder"):
        folder = str(tiny("bert") if room == "SentenceTransformer" else bert_scores(tmp_path / "bert"))
        ours, theirs = (getattr(side, room)(folder, device="cpu") for side in (compat, sentence_transformers))
        asked = [long] if room == "CrossEncoder" else long
        call = "predict" if room == "CrossEncoder" else "encode"
        whole = getattr(ours, call)(asked)
        for model in (ours, theirs):
            model.max_seq_length = 12
        assert ours.max_seq_length == theirs.max_seq_length == 12
        same(getattr(ours, call)(asked), getattr(theirs, call)(asked))
        assert np.abs(getattr(ours, call)(asked) - whole).max() > 1e-3
    ours.save_pretrained(tmp_path / "saved")
    assert compat.CrossEncoder(tmp_path / "saved", device="cpu").max_seq_length == 12


def test_similarities(models: tuple[Any, Any]) -> None:
    ours, theirs = models
    vectors = theirs.encode(TEXTS)
    for found, wanted in ((compat.cos_sim, cos_sim), (compat.dot_score, dot_score)):
        same(found(vectors, vectors[0]), wanted(vectors, vectors[0]))
    same(
        ours.similarity_pairwise(vectors, vectors[::-1].copy()),
        theirs.similarity_pairwise(vectors, vectors[::-1].copy()),
    )
    theirs_by_name = {one.name: one.value for one in sentence_transformers.SimilarityFunction}
    ours_by_name = {one.name: one.value for one in compat.SimilarityFunction}
    assert ours_by_name.items() <= theirs_by_name.items()
    assert theirs_by_name.keys() - ours_by_name.keys() == {"MAXSIM", "MEAN_MAXSIM"}  # of token vectors


# What has no equal


def test_what_has_no_equal_is_named(
    models: tuple[Any, Any], scorers: tuple[Any, Any], tmp_path: Path
) -> None:
    model, scorer = models[0], scorers[0]
    for asked, words in (
        (lambda: model.encode(TEXTS, output_value="token_embeddings"), "encode: output_value has no equal"),
        (lambda: model.encode(TEXTS, pool={}), "encode: pool has no equal"),
        (lambda: model.encode(TEXTS, device=["cpu", "cpu"]), "encode: device has no equal"),
        (lambda: model.encode_query(TEXTS, batchsize=3), "encode: there is no option batchsize"),
        (
            lambda: model.save_pretrained(tmp_path / "a", safe_serialization=False),
            "safe_serialization has no equal",
        ),
        (lambda: model.push_to_hub("a/b", local_model_path="x"), "local_model_path has no equal"),
        (lambda: scorer.predict(PAIRS, pool={}), "predict: pool has no equal"),
        (lambda: scorer.predict(PAIRS, activation=None), "predict: there is no option activation"),
        (lambda: compat.SentenceTransformer("x", backend="onnx"), "backend has no equal"),
        (lambda: compat.CrossEncoder("x", backend="openvino"), "backend has no equal"),
        (lambda: compat.Transformer("x", do_lower_case=True), "do_lower_case has no equal"),
        (lambda: compat.Transformer("x", query_length=3), "there is no option query_length"),
        (lambda: judge(write_predictions=True), "write_predictions has no equal"),
        (lambda: judge(score_functions={"a": cos_sim, "b": dot_score}), "score_functions has no equal"),
        (
            lambda: judge(score_functions={"a": cos_sim}, main_score_function="dot"),
            "is not among score_functions",
        ),
        (
            lambda: judge(score_functions={"dot": dot_score})(model),
            "compares by 'dot', and the model by 'cosine'",
        ),
        (lambda: compat.SequentialEvaluator([]), "there is no evaluator"),
    ):
        with pytest.raises(ConfigError, match=words):
            asked()
    with pytest.raises(TypeError, match="path_to_save"):
        model.save_pretrained(path_to_save=tmp_path / "a")
    with pytest.raises(TypeError, match="corpus_chunks"):
        judge(corpus_chunks=3)
    with pytest.raises(TypeError, match="top_n"):
        compat.CrossEncoderRerankingEvaluator([], top_n=3)
    assert not (tmp_path / "a").exists()


def test_a_card_s_facts_change_nothing(models: tuple[Any, Any], tmp_path: Path) -> None:
    models[0].save_pretrained(
        str(tmp_path / "model"), "a name", create_model_card=True, train_datasets=["rows"]
    )
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    same(loaded.encode(TEXTS), models[1].encode(TEXTS))


def test_a_reranker_of_a_chat_model_asks_for_the_answer(tmp_path: Path) -> None:
    folder = str(qwen3_answers(tmp_path / "model"))
    with pytest.raises(ConfigError, match="'add_generation_prompt': True"):
        compat.CrossEncoder(modules=[compat.Transformer(folder), compat.LogitScore(1, 2)])
    cut = {"text": {"max_length": 8}}
    with pytest.raises(ConfigError, match=r"processing_kwargs=.*max_length.* has no equal"):
        compat.CrossEncoder(
            modules=[compat.Transformer(folder, processing_kwargs=cut), compat.LogitScore(1, 2)]
        )
    with pytest.raises(ConfigError, match="processing_kwargs has no equal"):
        compat.SentenceTransformer(modules=[compat.Transformer(folder, processing_kwargs=cut)])


# Evaluators


def judge(**options: Any) -> Any:
    return compat.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT, name="held-out", **options)


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean"])
def test_the_deciding_metric_bears_the_model_s_similarity(
    measure: str, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = str(tiny("bert"))
    ours = compat.SentenceTransformer(folder, device="cpu", similarity_fn_name=measure)
    theirs = sentence_transformers.SentenceTransformer(folder, device="cpu", similarity_fn_name=measure)
    theirs_judge = evaluation.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT, name="held-out")
    evaluator = judge(batch_size=1, corpus_chunk_size=2, write_csv=False, show_progress_bar=False)
    assert evaluator.primary_metric is theirs_judge.primary_metric is None
    wanted = theirs_judge(theirs)
    args = compat.SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path), report_to="none", use_cpu=True
    )
    rows = datasets.Dataset.from_dict({"a": TEXTS, "b": TEXTS})
    loss = compat.MultipleNegativesRankingLoss(ours)
    trainer = compat.SentenceTransformerTrainer(ours, args, rows, loss=loss, evaluator=evaluator)
    assert evaluator.primary_metric == theirs_judge.primary_metric == f"held-out_{measure}_ndcg@10"
    assert trainer.args.metric_for_best_model == f"held-out_{measure}_ndcg@10"
    assert ours.evaluate(evaluator) == pytest.approx(wanted, abs=1e-6)


def test_a_score_function_gives_the_name(models: tuple[Any, Any]) -> None:
    ours, theirs = models
    found = judge(score_functions={"mine": compat.cos_sim})
    assert found.primary_metric == "held-out_mine_ndcg@10"
    wanted = evaluation.InformationRetrievalEvaluator(
        QUERIES, CORPUS, RELEVANT, name="held-out", score_functions={"mine": cos_sim}
    )
    assert found(ours) == pytest.approx(wanted(theirs), abs=1e-6)
    main = judge(main_score_function=compat.SimilarityFunction.COSINE)
    assert main.primary_metric == "held-out_cosine_ndcg@10"


def test_several_evaluators_have_one_score(models: tuple[Any, Any], tmp_path: Path) -> None:
    ours, theirs = models
    several = [judge(truncate_dim=dim) for dim in (8, 32)]
    them = [
        evaluation.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT, name="held-out", truncate_dim=dim)
        for dim in (8, 32)
    ]
    found = compat.SequentialEvaluator(several, main_score_function=max)
    wanted = evaluation.SequentialEvaluator(them, main_score_function=max)
    assert found(ours, str(tmp_path), -1, -1) == pytest.approx(wanted(theirs), abs=1e-6)
    assert found.primary_metric == wanted.primary_metric == "sequential_score"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".jsonl"]


def test_the_reranking_evaluator_takes_its_older_name(tmp_path: Path) -> None:
    model = compat.CrossEncoder(bert_scores(tmp_path / "bert"), device="cpu")
    some = samples(triplets(4, seed=1))
    evaluator = compat.CrossEncoderRerankingEvaluator(some, batch_size=2, write_csv=False, mrr_at_k=3)
    assert set(evaluator(model)) == {"map", "mrr@3", "ndcg@3"}
