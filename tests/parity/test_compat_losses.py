"""Each loss of `sightline.compat`, called as ST's class is, has the value of ST's on one batch.

Shape letters::

    C  columns     B  rows     D  embedding dimension
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses as st_pairs
from sentence_transformers.sentence_transformer import losses as st
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from sightline import compat
from sightline.errors import ConfigError
from sightline.losses.compose import Matryoshka
from sightline.losses.layers import AdaptiveLayers
from sightline.models.reranker import Reranker
from sightline.types import Batch, Embeddings
from support.reranker_rows import lists, triplets
from support.reranker_steps import step
from support.tiny_rerankers import bert_scores

ROWS, DIM = 6, 8
BINARY = torch.tensor([1, 0, 1, 1, 0, 0])
SCORES = torch.tensor([0.9, 0.1, 0.4, 0.7, 0.2, 0.6])
CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
TEACHER_B2 = torch.linspace(-1, 2, 2 * ROWS).reshape(ROWS, 2)
TRIPLET_METRIC, PAIR_METRIC = "TripletDistanceMetric", "SiameseDistanceMetric"
FAR = "BatchHardTripletLossDistanceFunction"


def draws(columns: int, seed: int = 0, dim: int = DIM) -> Tensor:
    """(C, B, D) vectors."""
    return torch.randn(columns, ROWS, dim, generator=torch.Generator().manual_seed(seed))


def batch_of(columns: int, labels: Any = None, **options: Any) -> Batch:
    """Distinct items, numbered column by column."""
    if labels is not None:
        options["targets"] = {"label": labels}
    return Batch(
        micro_batches=[],
        keys_N=torch.arange(columns * ROWS),
        columns_BC=torch.arange(columns * ROWS).reshape(columns, ROWS).t(),
        roles=("query", *["document"] * (columns - 1)),
        **options,
    )


def value(loss: Any, vectors_CBD: Tensor, batch: Batch) -> float:
    parts = loss(Embeddings(vectors_CBD.flatten(0, 1)), batch)
    return float(sum(parts.values()))


class Stub(SimpleNamespace):
    """What a constructor of theirs looks at of a model."""

    def __getitem__(self, number: int) -> None: ...


# Name, columns, labels, and the arguments after the model; a pair of strings is a member of that class of either side.
FOR_ENCODERS: list[tuple[str, int, Any, dict[str, Any]]] = [
    ("MultipleNegativesRankingLoss", 3, None, {"scale": 7.0, "similarity_fct": dot_score}),
    ("MultipleNegativesRankingLoss", 2, None, {"directions": ("query_to_doc", "doc_to_query", "doc_to_doc")}),
    (
        "MultipleNegativesRankingLoss", 3, None,
        {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
    ),
    (
        "CachedMultipleNegativesRankingLoss", 3, None,
        {"mini_batch_size": 2, "hardness_mode": "hard_negatives", "hardness_strength": 5.0},
    ),
    ("MultipleNegativesSymmetricRankingLoss", 2, None, {"scale": 10.0}),
    ("CachedMultipleNegativesSymmetricRankingLoss", 2, None, {"mini_batch_size": 2}),
    ("TripletLoss", 3, None, {"distance_metric": (TRIPLET_METRIC, "MANHATTAN"), "triplet_margin": 2}),
    ("TripletLoss", 3, None, {"distance_metric": (TRIPLET_METRIC, "COSINE"), "triplet_margin": 0.4}),
    ("ContrastiveLoss", 2, BINARY, {"distance_metric": (PAIR_METRIC, "EUCLIDEAN"), "margin": 4.0}),
    ("OnlineContrastiveLoss", 2, BINARY, {"distance_metric": (PAIR_METRIC, "COSINE_DISTANCE"), "margin": 0.9}),
    ("BatchHardTripletLoss", 1, CLASSES, {"distance_metric": (FAR, "cosine_distance"), "margin": 1}),
    ("BatchSemiHardTripletLoss", 1, CLASSES, {"margin": 3}),
    ("BatchAllTripletLoss", 1, CLASSES, {}),
    ("BatchHardSoftMarginTripletLoss", 1, CLASSES, {"distance_metric": (FAR, "euclidean_distance")}),
    ("CosineSimilarityLoss", 2, SCORES, {"loss_fct": nn.MSELoss()}),
    ("CoSENTLoss", 2, SCORES, {"scale": 5.0, "similarity_fct": pairwise_cos_sim}),
    ("AnglELoss", 2, SCORES, {}),
    ("MarginMSELoss", 3, SCORES, {"similarity_fct": pairwise_cos_sim}),
    ("DistillKLDivLoss", 3, TEACHER_B2, {"temperature": 2.0}),
    ("DistillKLDivLoss", 3, TEACHER_B2, {"student_temperature": 0.5, "teacher_temperature": 3.0}),
    ("GlobalOrthogonalRegularizationLoss", 2, None, {"mean_weight": None, "second_moment_weight": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "columns", "labels", "options"),
    FOR_ENCODERS,
    ids=[f"{number} {case[0]}" for number, case in enumerate(FOR_ENCODERS)],
)
def test_losses_for_encoders(name: str, columns: int, labels: Any, options: dict[str, Any]) -> None:
    def called(room: Any) -> Any:
        of_room = {
            key: getattr(getattr(room, given[0]), given[1])
            if isinstance(given, tuple) and given[0] in (TRIPLET_METRIC, PAIR_METRIC, FAR)
            else given
            for key, given in options.items()
        }
        return getattr(room, name)(Stub(), **of_room)

    vectors_CBD = draws(columns)
    theirs = called(st)
    if name.startswith("Cached"):
        wanted = theirs.calculate_loss([[part] for part in vectors_CBD])
    else:
        wanted = theirs.compute_loss_from_embeddings(list(vectors_CBD), labels)
    if isinstance(wanted, dict):
        wanted = sum(wanted.values())
    assert abs(float(wanted)) > 1e-3
    found = value(called(compat), vectors_CBD, batch_of(columns, labels))
    assert found == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.05, "margin_strategy": "relative", "margin": 0.05},
        {"temperature": 0.1, "margin": 0.1, "contrast_anchors": False},
        {"temperature": 0.1, "contrast_positives": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["GISTEmbedLoss", "CachedGISTEmbedLoss"])
def test_guided_losses(name: str, options: dict[str, Any]) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    stub = Stub(tokenizer=tokenizer, max_seq_length=8)
    vectors_CBD, guide_CBD = draws(3), draws(3, seed=1)
    guide_CBD[1] = guide_CBD[0] + 1.3 * guide_CBD[1]
    # Both names have one formula, which only the second takes apart from its models.
    theirs: Any = st.CachedGISTEmbedLoss(stub, stub, **options)  # type: ignore[arg-type]
    wanted = theirs.calculate_loss([[part] for part in vectors_CBD], [[part] for part in guide_CBD])
    found = getattr(compat, name)(None, stub, **options)
    assert found.guide is stub
    guided = batch_of(3, guide_NG=guide_CBD.flatten(0, 1))
    assert value(found.loss, vectors_CBD, guided) == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("comparison", ["mse", "l2", "cosine", None])
def test_distillation_of_vectors(comparison: str | None) -> None:
    student_CBD, teacher_CBD = draws(2), draws(1, seed=1)
    loss: Any
    if comparison is None:
        theirs, loss = st.EmbedDistillLoss(nn.Module(), "mse"), compat.MSELoss(None)  # type: ignore[arg-type]
    else:
        theirs = st.EmbedDistillLoss(nn.Module(), distance_metric=comparison)  # type: ignore[arg-type]
        loss = compat.EmbedDistillLoss(None, distance_metric=comparison)
    wanted = theirs.compute_loss_from_embeddings(list(student_CBD), [teacher_CBD[0]] * 2)
    found = value(loss, student_CBD, batch_of(2, teacher_CBD[0]))
    assert found == pytest.approx(float(wanted), abs=1e-6)


def test_losses_around_losses() -> None:
    """Their values are compared in test_layer_parity and test_loss_parity; here the arguments."""
    plain = compat.CoSENTLoss(None)
    assert compat.MatryoshkaLoss(None, plain, [8, 4], [1, 0.5]) == Matryoshka(plain, (8, 4), (1, 0.5))
    # Drawing one dimension of two per step has this loss in the mean.
    assert compat.MatryoshkaLoss(None, plain, [8, 4], n_dims_per_step=1) == Matryoshka(
        plain, (8, 4), (0.5, 0.5)
    )
    assert compat.AdaptiveLayerLoss(
        None, plain, n_layers_per_step=2, prior_layers_weight=0.5, kl_temperature=0.1, layer_weighting="log"
    ) == AdaptiveLayers(plain, 2, prior_weight=0.5, kl_temperature=0.1, layer_weighting="log")
    assert compat.Matryoshka2dLoss(
        None, plain, [8, 4], n_dims_per_step=-1, kl_div_weight=2
    ) == AdaptiveLayers(Matryoshka(plain, (8, 4)), kl_weight=2.0)
    guided = compat.GISTEmbedLoss(None, "the guide")
    around = compat.MatryoshkaLoss(None, guided, [8, 4])
    assert around.guide == "the guide"
    assert around.loss == Matryoshka(guided.loss, (8, 4))


TRIPLETS = triplets(6, seed=3)
LISTS = lists(TRIPLETS)
PAIRS = [
    {"query": row["query"], "document": row["positive"], "label": n % 2} for n, row in enumerate(TRIPLETS)
]
MARGINS = [
    {name: row[name] for name in ("query", "positive", "negative_0", "negative_1")}
    | {"label": [0.5 * n, 1.0 - n]}
    for n, row in enumerate(TRIPLETS)
]
FOR_PAIRS: list[tuple[str, Callable[[Any, Any], Any], list[dict[str, Any]]]] = [
    (
        "binary",
        lambda r, m: r.BinaryCrossEntropyLoss(m, nn.Identity(), pos_weight=torch.tensor(2.0)),
        PAIRS,
    ),
    ("no weight", lambda r, m: r.BinaryCrossEntropyLoss(m, pos_weight=None), PAIRS),
    ("classes", lambda r, m: r.CrossEntropyLoss(m), PAIRS),
    ("mse", lambda r, m: r.MSELoss(m, nn.Sigmoid()), PAIRS),
    ("margin mse", lambda r, m: r.MarginMSELoss(m), MARGINS),
    (
        "in-batch",
        lambda r, m: r.MultipleNegativesRankingLoss(m, None, scale=5, activation_fn=None),
        TRIPLETS,
    ),
    (
        "cached in-batch",
        lambda r, m: r.CachedMultipleNegativesRankingLoss(m, num_negatives=None, mini_batch_size=2),
        TRIPLETS,
    ),
    ("listnet", lambda r, m: r.ListNetLoss(m, nn.Sigmoid(), mini_batch_size=2), LISTS),
    ("listmle", lambda r, m: r.ListMLELoss(m, respect_input_order=True), LISTS),
    ("plistmle", lambda r, m: r.PListMLELoss(m, r.PListMLELambdaWeight()), LISTS),
    ("plistmle, even", lambda r, m: r.PListMLELoss(m, lambda_weight=None), LISTS),
    ("lambda", lambda r, m: r.LambdaLoss(m), LISTS),
    ("ndcg2++", lambda r, m: r.LambdaLoss(m, r.NDCGLoss2PPScheme(mu=3.0), k=2, sigma=0.5), LISTS),
    ("ndcg1", lambda r, m: r.LambdaLoss(m, weighting_scheme=r.NDCGLoss1Scheme()), LISTS),
    ("ndcg2", lambda r, m: r.LambdaLoss(m, r.NDCGLoss2Scheme(), reduction_log="natural"), LISTS),
    ("lambdarank", lambda r, m: r.LambdaLoss(m, r.LambdaRankScheme()), LISTS),
    ("no scheme", lambda r, m: r.LambdaLoss(m, r.NoWeightingScheme()), LISTS),
    ("None for a scheme", lambda r, m: r.LambdaLoss(m, None), LISTS),
    ("adr mse", lambda r, m: r.ADRMSELoss(m, 2.0, mini_batch_size=2), LISTS),
    ("ranknet", lambda r, m: r.RankNetLoss(m, k=2, sigma=2.0, eps=1e-10), LISTS),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Tiny rerankers by number of labels."""
    return {labels: bert_scores(tmp_path_factory.mktemp(f"bert{labels}"), labels=labels) for labels in (1, 2)}


@pytest.mark.parametrize(("name", "made", "rows"), FOR_PAIRS, ids=[case[0] for case in FOR_PAIRS])
def test_losses_for_rerankers(
    name: str, made: Callable[[Any, Any], Any], rows: list[dict[str, Any]], folders: dict[int, Path]
) -> None:
    folder = folders[2 if name == "classes" else 1]
    theirs = CrossEncoder(str(folder), device="cpu").eval()
    inputs = [[row[column] for row in rows] for column in rows[0] if column not in ("label", "labels")]
    with torch.no_grad():
        wanted = made(st_pairs, theirs)(inputs, _labels(rows))

    ours = compat.CrossEncoder(folder, device="cpu")
    loss = made(compat, ours)
    reranker = ours.inner
    assert isinstance(reranker, Reranker)
    parts = step(reranker, loss, rows)
    assert abs(float(wanted)) > 1e-4
    assert float(sum(parts.values())) == pytest.approx(float(wanted), abs=1e-5)


def _labels(rows: list[dict[str, Any]]) -> Any:
    if "labels" in rows[0]:
        return [torch.tensor(row["labels"]) for row in rows]
    return torch.tensor([row["label"] for row in rows]) if "label" in rows[0] else None


def test_what_has_no_equal_is_refused() -> None:
    with pytest.raises(ConfigError, match="doc_to_doc has no equal"):
        compat.MultipleNegativesRankingLoss(
            None, directions=("query_to_doc", "doc_to_doc"), partition_mode="per_direction"
        )
    with pytest.raises(ConfigError, match="the directions of InfoNCE"):
        compat.MultipleNegativesRankingLoss(None, directions=("doc_to_doc",))
    with pytest.raises(ConfigError, match="beta has no equal here"):
        compat.CoSENTLoss(None, beta=1)
    with pytest.raises(ConfigError, match="activation_fn=Sigmoid"):
        compat.BinaryCrossEntropyLoss(None, activation_fn=nn.Sigmoid())
    with pytest.raises(ConfigError, match="size_average=False"):
        compat.ContrastiveLoss(None, size_average=False)
    with pytest.raises(ConfigError, match="rank_discount_fn"):
        compat.PListMLELoss(None, compat.PListMLELambdaWeight(lambda mask: mask))
    with pytest.raises(ConfigError, match="euclidean_sim"):
        compat.MultipleNegativesRankingLoss(None, similarity_fct="euclidean_sim")
    assert compat.MultipleNegativesRankingLoss(None, similarity_fct=cos_sim).similarity == "cosine"
