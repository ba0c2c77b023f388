"""ST's losses over ours, called like its classes with the model first; our losses never hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

from sightline.compat.making import (
    DISTANCE,
    LOSS,
    SCALE,
    SIMILARITY,
    UNUSED,
    Guided,
    Rule,
    maker,
    same,
)
from sightline.compat.models import CrossEncoder
from sightline.compat.pair_losses import in_batch_ranking, pair_margin_mse, pair_mse
from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
from sightline.losses.joint import Direction, FalseNegatives
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, CosineSimilarity, OnlineContrastive
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet, Triplet


class TripletDistanceMetric(StrEnum):
    """What `TripletLoss` measures."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


class SiameseDistanceMetric(StrEnum):
    """What `ContrastiveLoss` and `OnlineContrastiveLoss` measure."""

    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"
    COSINE_DISTANCE = "cosine"


class BatchHardTripletLossDistanceFunction(StrEnum):
    """What the losses over labelled items measure."""

    cosine_distance = "cosine"
    euclidean_distance = "euclidean"


def _by_model(for_encoder: Callable[..., Any], for_pairs: Callable[..., Any]) -> Callable[..., Any]:
    """ST has some names twice: for a `SentenceTransformer`, and for a `CrossEncoder`."""

    def called(model: Any, *args: Any, **options: Any) -> Any:
        make = for_pairs if isinstance(model, CrossEncoder) else for_encoder
        return make(model, *args, **options)

    return called


def _info_nce(
    directions: tuple[Direction, ...] = ("query_to_doc",),
    partition: str = "joint",
    hardness: Any = None,
    hardness_strength: float = 0.0,
    **options: Any,
) -> Loss:
    if hardness is not None and hardness_strength:
        options |= {"hardness": hardness, "hardness_strength": hardness_strength}
    if partition == "joint" or len(directions) == 1:
        return InfoNCE(directions=directions, **options)
    if partition != "per_direction" or set(directions) != {"query_to_doc", "doc_to_query"}:
        raise ConfigError(f"partition_mode {partition!r} over {', '.join(directions)} has no equal here")
    return InfoNCE(symmetric=True, **options)


def _gist(
    guide: Any, strategy: str = "absolute", margin: float = 0.0, anchors: bool = True, positives: bool = True,
    temperature: float = 0.01,
) -> Guided:  # fmt: skip
    directions: list[Direction] = ["query_to_doc"]
    directions += ["query_to_query"] if anchors else []
    directions += ["positive_to_positive"] if positives else []
    if strategy not in ("absolute", "relative"):
        raise ConfigError(f"margin_strategy is 'absolute' or 'relative', not {strategy!r}")
    rule = FalseNegatives(margin, relative=strategy == "relative")
    return Guided(InfoNCE(temperature, directions=tuple(directions), false_negatives=rule), guide)


def _matryoshka(
    loss: Loss, dims: Sequence[int], weights: Sequence[float] | None = None, drawn: int = -1
) -> Loss:
    """With ``drawn`` dimensions per step ST draws them; here all of them share that number's weight."""
    if 0 < drawn < len(dims):
        weights = [weight * drawn / len(dims) for weight in weights or [1.0] * len(dims)]
    return Matryoshka(loss, tuple(dims), None if weights is None else tuple(weights))


def _both(
    loss: Loss, dims: Sequence[int], weights: Sequence[float] | None = None, drawn: int = 1, **layers: Any
) -> Loss:
    return AdaptiveLayers(_matryoshka(loss, dims, weights, drawn), **layers)


def _distilled(similarity: Any = "dot", both: float = 1.0, student: Any = None, teacher: Any = None) -> Loss:
    return DistillKL(similarity, student or both, teacher or both)


_scores: dict[str, Rule] = {"scale": SCALE, "similarity_fct": SIMILARITY}
_small: dict[str, Rule] = {"mini_batch_size": UNUSED, "mini_batch_num_tokens": UNUSED}
_ranks: dict[str, Rule] = {"gather_across_devices": UNUSED}
_joint: dict[str, Rule] = {"directions": ("directions", tuple), "partition_mode": ("partition", str)}
_bar: dict[str, Rule] = {"show_progress_bar": UNUSED}
_hard: dict[str, Rule] = {
    "hardness_mode": ("hardness", same),
    "hardness_strength": ("hardness_strength", float),
}
_guide: dict[str, Rule] = {"guide": ("guide", same), "temperature": ("temperature", float)}
_margins: dict[str, Rule] = {
    "margin_strategy": ("strategy", str),
    "margin": ("margin", float),
    "contrast_anchors": ("anchors", bool),
    "contrast_positives": ("positives", bool),
}
_dims: dict[str, Rule] = {"matryoshka_dims": ("dims", same), "matryoshka_weights": ("weights", same)}
_drawn: dict[str, Rule] = {"n_dims_per_step": ("drawn", int)}
_layers: dict[str, Rule] = {
    "last_layer_weight": ("last_weight", float),
    "prior_layers_weight": ("prior_weight", float),
    "kl_div_weight": ("kl_weight", float),
    "kl_temperature": ("kl_temperature", float),
    "layer_weighting": ("layer_weighting", same),
}
_per_step: dict[str, Rule] = {"n_layers_per_step": ("layers_per_step", int)}
_apart: dict[str, Rule] = {"distance_metric": DISTANCE, "margin": ("margin", float)}
_projected: dict[str, Rule] = {"projection_dim": ("projection", same)}

MultipleNegativesRankingLoss = _by_model(
    maker(_info_nce, **_scores, **_ranks, **_joint, **_hard), in_batch_ranking
)
# Caching is the step's business; only the order of the arguments is another.
CachedMultipleNegativesRankingLoss = _by_model(
    maker(_info_nce, **_scores, **_small, **_ranks, **_joint, **_bar, **_hard), in_batch_ranking
)
_symmetric = partial(InfoNCE, symmetric=True)
MultipleNegativesSymmetricRankingLoss = maker(_symmetric, **_scores, **_ranks)
CachedMultipleNegativesSymmetricRankingLoss = maker(_symmetric, **_scores, **_small, **_ranks, **_bar)
GISTEmbedLoss = maker(_gist, **_guide, **_margins, **_ranks)
CachedGISTEmbedLoss = maker(_gist, **_guide, **_small, **_bar, **_margins, **_ranks)

MatryoshkaLoss = maker(_matryoshka, loss=LOSS, **_dims, **_drawn)
AdaptiveLayerLoss = maker(AdaptiveLayers, loss=LOSS, **_per_step, **_layers)
Matryoshka2dLoss = maker(_both, loss=LOSS, **_dims, **_per_step, **_drawn, **_layers)

TripletLoss = maker(Triplet, distance_metric=DISTANCE, triplet_margin=("margin", float))
BatchHardTripletLoss = maker(partial(BatchTriplet, "hard"), **_apart)
BatchSemiHardTripletLoss = maker(partial(BatchTriplet, "semi-hard"), **_apart)
BatchAllTripletLoss = maker(partial(BatchTriplet, "all"), **_apart)
BatchHardSoftMarginTripletLoss = maker(partial(BatchTriplet, "hard", margin=None), distance_metric=DISTANCE)
ContrastiveLoss = maker(Contrastive, **_apart, size_average=(None, bool))
OnlineContrastiveLoss = maker(OnlineContrastive, **_apart)
CosineSimilarityLoss = maker(
    CosineSimilarity,
    loss_fct=(None, lambda function: type(function).__name__ == "MSELoss"),
    cos_score_transformation=(None, lambda function: type(function).__name__ == "Identity"),
)
CoSENTLoss = maker(CoSENT, scale=SCALE, similarity_fct=(None, lambda function: "cos" in function.__name__))
AnglELoss = maker(AnglE, scale=SCALE)

MarginMSELoss = _by_model(maker(MarginMSE, similarity_fct=SIMILARITY), pair_margin_mse)
MSELoss = _by_model(maker(partial(EmbeddingDistillation, "mse"), **_projected), pair_mse)
EmbedDistillLoss = maker(EmbeddingDistillation, distance_metric=("comparison", str), **_projected)
DistillKLDivLoss = maker(
    _distilled,
    similarity_fct=SIMILARITY,
    temperature=("both", float),
    student_temperature=("student", same),
    teacher_temperature=("teacher", same),
)
GlobalOrthogonalRegularizationLoss = maker(
    OrthogonalRegularization,
    similarity_fct=(None, lambda function: "cos" in function.__name__),
    mean_weight=("mean_weight", lambda weight: weight or 0.0),
    second_moment_weight=("second_moment_weight", lambda weight: weight or 0.0),
    aggregation=(None, lambda how: how == "mean"),
)
