# ruff: noqa: N802  (they bear the names of ST's classes)
"""ST's losses over ours, called like its classes with the model first; our losses never hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sightline.compat.models import CrossEncoder
from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.listwise import ListNet
from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, CosineSimilarity
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy
from sightline.losses.triplets import Triplet


def _loss(make: Callable[..., Loss], **names: tuple[str, Callable[[Any], Any]]) -> Callable[..., Loss]:
    """A maker of one of our losses.

    Args:
        make: its class.
        names: ST's arguments in order -> ours, and how a value is converted.
    """

    def called(model: Any, *args: Any, **options: Any) -> Loss:
        given = {**dict(zip(names, args, strict=False)), **options}
        unknown = sorted(set(given) - set(names) - _WITHOUT_MEANING)
        if unknown:
            raise ConfigError(f"{unknown[0]} has no equal here; leave it out")
        return make(**{names[key][0]: names[key][1](value) for key, value in given.items() if key in names})

    return called


# The step and the plan of memory decide these.
_WITHOUT_MEANING = {"mini_batch_size", "mini_batch_num_tokens", "show_progress_bar", "gather_across_devices"}


def _both_ways(directions: Sequence[str]) -> bool:
    if set(directions) not in ({"query_to_doc"}, {"query_to_doc", "doc_to_query"}):
        raise ConfigError(f"directions {tuple(directions)} have no equal here")
    return len(directions) > 1


def MultipleNegativesRankingLoss(model: Any, *args: Any, **options: Any) -> Loss:
    """`InfoNCE`, or for a `CrossEncoder` `InBatchRanking`."""
    if isinstance(model, CrossEncoder):
        return _in_batch(model, *args, **options)
    together = options.pop("partition_mode", "joint") == "joint"
    if together and len(options.get("directions", "x")) > 1:
        raise ConfigError(
            "partition_mode 'joint' over several directions has no equal here; 'per_direction' has one"
        )
    return _info_nce(model, *args, **options)


_scale = ("temperature", lambda scale: 1 / scale)
_compared = ("similarity", lambda function: _similarity(function))
_apart = ("distance", lambda metric: _distance(metric))
_activated = ("activation", lambda function: type(function).__name__.lower())
_in_batch = _loss(
    InBatchRanking, num_negatives=("negatives", lambda n: n), scale=_scale, activation_fn=_activated
)
_info_nce = _loss(InfoNCE, scale=_scale, similarity_fct=_compared, directions=("symmetric", _both_ways))
CachedMultipleNegativesRankingLoss = MultipleNegativesRankingLoss  # caching is the step's business
MatryoshkaLoss = _loss(
    Matryoshka,
    loss=("loss", lambda one: one),
    matryoshka_dims=("dims", tuple),
    matryoshka_weights=("weights", tuple),
)
TripletLoss = _loss(Triplet, distance_metric=_apart, triplet_margin=("margin", float))
ContrastiveLoss = _loss(Contrastive, distance_metric=_apart, margin=("margin", float))
CosineSimilarityLoss = _loss(CosineSimilarity)
CoSENTLoss = _loss(CoSENT, scale=_scale)
AnglELoss = _loss(AnglE, scale=_scale)
MarginMSELoss = _loss(MarginMSE, similarity_fct=_compared)
BinaryCrossEntropyLoss = _loss(BinaryCrossEntropy, pos_weight=("pos_weight", float))
CrossEntropyLoss = _loss(CrossEntropy)
ListNetLoss = _loss(ListNet, activation_fn=_activated)


def _similarity(function: Any, default: str = "cosine") -> Any:
    """Ours of a function like ``util.dot_score`` or a `SimilarityFunction`."""
    if function is None:
        return default
    name = getattr(function, "value", None) or getattr(function, "__name__", str(function))
    known = {
        "cos_sim": "cosine",
        "pairwise_cos_sim": "cosine",
        "dot_score": "dot",
        "pairwise_dot_score": "dot",
    }
    return known.get(str(name), str(name))


def _distance(metric: Any) -> Any:
    """Ours of a member of ``TripletDistanceMetric`` or ``SiameseDistanceMetric``, or of its name."""
    name = str(getattr(metric, "name", metric)).lower()
    return name.removesuffix("_distance")
