# ruff: noqa: N802  (they bear the names of ST's classes)
"""ST's losses for a `CrossEncoder` over ours, called like its classes with the model first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sightline.compat.making import ACTIVATION, IDENTITY, SCALE, UNUSED, Rule, maker, same
from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.distillation import MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda, LambdaWeighting, RankNet
from sightline.losses.listwise import ADRMSE, ListMLE, ListNet, PListMLE
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy, ScoreMSE


@dataclass(frozen=True)
class Scheme:
    """How a pair of documents weighs in `LambdaLoss`; made by the functions below."""

    weighting: LambdaWeighting
    mu: float = 10.0


def NoWeightingScheme() -> Scheme:
    """All pairs alike."""
    return Scheme("none")


def NDCGLoss1Scheme() -> Scheme:
    """See `sightline.losses.lambda_loss.Lambda`, as for all of them."""
    return Scheme("ndcg1")


def NDCGLoss2Scheme() -> Scheme:
    """By the discount at the distance of their ranks."""
    return Scheme("ndcg2")


def LambdaRankScheme() -> Scheme:
    """By what their exchange does to NDCG."""
    return Scheme("lambdarank")


def NDCGLoss2PPScheme(mu: float = 10.0) -> Scheme:
    """The sum of the two, the first ``mu`` times."""
    return Scheme("ndcg2++", mu)


@dataclass(frozen=True)
class PListMLELambdaWeight:
    """How a rank weighs in `PListMLELoss`: ``2^(n - r) - 1``."""

    rank_discount_fn: Callable[..., Any] | None = None


def _lambda(scheme: Scheme | None = Scheme("ndcg2++"), **options: Any) -> Loss:
    found = scheme or Scheme("none")
    return Lambda(found.weighting, mu=found.mu, **options)


def _position_aware(weight: PListMLELambdaWeight | None = PListMLELambdaWeight(), **options: Any) -> Loss:
    if weight is None:
        return ListMLE(**options)
    if weight.rank_discount_fn is not None:
        raise ConfigError(
            "a rank_discount_fn of one's own has no equal here; PListMLE(weighting='logarithmic') has 1 / log(1 + rank)"
        )
    return PListMLE(**options)


_list: dict[str, Rule] = {"activation_fn": ACTIVATION, "mini_batch_size": UNUSED}
_order: dict[str, Rule] = {"respect_input_order": ("in_given_order", bool)}
_ranks: dict[str, Rule] = {
    "k": ("k", same),
    "sigma": ("sigma", float),
    "eps": UNUSED,
    "reduction_log": ("logarithm", str),
    **_list,
}

BinaryCrossEntropyLoss = maker(
    BinaryCrossEntropy,
    activation_fn=IDENTITY,
    pos_weight=("pos_weight", lambda weight: 1.0 if weight is None else float(weight)),
)
CrossEntropyLoss = maker(CrossEntropy, activation_fn=IDENTITY, label_smoothing=("label_smoothing", float))
ListNetLoss = maker(ListNet, **_list)
ListMLELoss = maker(ListMLE, **_list, **_order)
PListMLELoss = maker(_position_aware, lambda_weight=("weight", same), **_list, **_order)
ADRMSELoss = maker(ADRMSE, alpha=("alpha", float), **_list)
LambdaLoss = maker(_lambda, weighting_scheme=("scheme", same), **_ranks)
RankNetLoss = maker(RankNet, **_ranks)

pair_margin_mse = maker(MarginMSE, activation_fn=ACTIVATION)
pair_mse = maker(ScoreMSE, activation_fn=ACTIVATION)
in_batch_ranking = maker(
    InBatchRanking,
    num_negatives=("negatives", same),
    scale=SCALE,
    activation_fn=ACTIVATION,
    mini_batch_size=UNUSED,
    mini_batch_num_tokens=UNUSED,
    show_progress_bar=UNUSED,
)
