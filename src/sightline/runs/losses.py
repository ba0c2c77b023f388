"""The `[loss]` table as a loss."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, get_type_hints

from sightline.config.check import convert, unknown_key
from sightline.config.recipe import Recipe
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from sightline.losses.base import Loss

# Losses that compare embeddings the way the model does, unless told otherwise.
_AS_THE_MODEL = ("infonce",)


def loss_class(recipe: Recipe) -> type[Any]:
    """The class of the loss a recipe names, its options checked by name and type.

    Raises:
        ConfigError: naming the file and the key: no such loss, an option it does not have or of the wrong type.
    """
    name = recipe.loss.name
    known = losses()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"{recipe.source}: loss.name: there is no loss {name!r}; {hint}known: {', '.join(sorted(known))}"
        )
    cls = known[name]
    options = {one.name for one in dataclasses.fields(cls)}
    for key in recipe.loss.given():
        if key not in options:
            near_it = [f"loss.{option}" for option in [*options, "guide", "layers", "matryoshka", "name"]]
            raise unknown_key(f"loss.{key}", near_it, source=f"{recipe.source}: the loss {name!r}")
    if recipe.loss.guide is not None and "false_negatives" not in options:
        raise ConfigError(
            f"{recipe.source}: loss.guide: the loss {name!r} has no use for a guide; leave it out"
        )
    return cls


def build_loss(recipe: Recipe, similarity: str | None) -> Loss:
    """The loss of `[loss]`.

    Args:
        recipe: the recipe.
        similarity: how the model compares embeddings; None for a reranker.

    Raises:
        ConfigError: see `loss_class`; or an option out of its range.
    """
    from sightline.losses.compose import Matryoshka
    from sightline.losses.joint import FalseNegatives
    from sightline.losses.layers import AdaptiveLayers

    cls, config = loss_class(recipe), recipe.loss
    hints = get_type_hints(cls)
    options = {
        key: convert(hints[key], value, source=recipe.source, key=f"loss.{key}")
        for key, value in config.given().items()
    }
    if config.name in _AS_THE_MODEL and similarity is not None:
        options.setdefault("similarity", similarity)
    if config.guide is not None:
        options.setdefault("false_negatives", FalseNegatives())
    try:
        loss: Loss = cls(**options)
        if config.matryoshka is not None:
            loss = Matryoshka(loss, config.matryoshka.dims, config.matryoshka.weights)
        if config.layers is not None:
            loss = AdaptiveLayers(loss, **vars(config.layers))
    except ConfigError as error:
        raise ConfigError(f"{recipe.source}: [loss]: {error}") from None
    return loss


def fits(recipe: Recipe, model: Any, loss: Loss) -> None:
    """Whether the model can be trained with the losses of the recipe, told before anything is measured.

    Raises:
        ConfigError: see `sightline.training.fitting.check_fit`.
    """
    from sightline.training.fitting import check_fit

    try:
        check_fit(model, loss)
    except ConfigError as error:
        raise ConfigError(f"{recipe.source}: {error}") from None


def inherited_options(recipe: Recipe, loss: Any) -> dict[str, Any]:
    """Dotted key -> value of the loss's options that the recipe leaves out."""
    inner = loss
    for around in (recipe.loss.layers, recipe.loss.matryoshka):
        inner = inner.loss if around is not None else inner
    return {
        f"loss.{one.name}": vars(inner)[one.name]
        for one in dataclasses.fields(inner)
        if one.name not in recipe.loss.given()
    }


def losses() -> dict[str, type[Any]]:
    """Losses by the name they have in a recipe."""
    from sightline.losses.contrastive import InfoNCE
    from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
    from sightline.losses.in_batch import InBatchRanking
    from sightline.losses.lambda_loss import Lambda, RankNet
    from sightline.losses.listwise import ADRMSE, ListMLE, ListNet, PListMLE
    from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, CosineSimilarity, OnlineContrastive
    from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy, ScoreMSE
    from sightline.losses.triplets import BatchTriplet, Triplet

    return {
        "adr_mse": ADRMSE,
        "angle": AnglE,
        "batch_triplet": BatchTriplet,
        "binary_cross_entropy": BinaryCrossEntropy,
        "contrastive": Contrastive,
        "cosent": CoSENT,
        "cosine_similarity": CosineSimilarity,
        "cross_entropy": CrossEntropy,
        "distill_kl": DistillKL,
        "embedding_distillation": EmbeddingDistillation,
        "in_batch_ranking": InBatchRanking,
        "infonce": InfoNCE,
        "lambda": Lambda,
        "listmle": ListMLE,
        "listnet": ListNet,
        "margin_mse": MarginMSE,
        "online_contrastive": OnlineContrastive,
        "plistmle": PListMLE,
        "ranknet": RankNet,
        "score_mse": ScoreMSE,
        "triplet": Triplet,
    }
