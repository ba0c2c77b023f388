"""Whether a model, its loss and a guide go together: what can be told before any data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import ByDataset, Sum
from sightline.losses.needs import Needs, needs_of
from sightline.losses.pair_scores import PairLoss
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker

_OTHERS = ("transformers", "sentence_transformers")


def check_model(model: Any) -> None:
    """Whether a model is one of ours, or anything called like one.

    Raises:
        ConfigError: it is a name, or a model of transformers or Sentence Transformers.
    """
    kind = type(model).__module__.split(".")[0]
    if not isinstance(model, nn.Module) or kind in _OTHERS:
        what = repr(model) if isinstance(model, (str, Path)) else f"a {type(model).__name__}"
        raise ConfigError(
            f"the Trainer trains an Encoder or a Reranker, not {what}; Encoder.from_pretrained(name or folder) and "
            "Reranker.from_pretrained load what transformers and Sentence Transformers have saved"
        )


def check_fit(model: Any, loss: Loss) -> None:
    """Whether a model can be trained with a loss.

    Args:
        model: an `Encoder`, a `Reranker`, or anything that is called like an encoder.
        loss: of the run; one per dataset as `ByDataset`.

    Raises:
        ConfigError: the loss is for models of another kind, or wants more than this one gives; or checkpoints of the
            model could not be saved.
    """
    for own in _by_dataset(loss):
        _check_loss(own)
    if isinstance(model, Reranker):
        for one in pair_losses(loss):
            _check_scores(needs_of(one), model.num_labels)
        return
    for need in needs_of(*_by_dataset(loss)):
        _check_vectors(need, model)
    if isinstance(model, Encoder) and model.multi_vector and model.truncate_dim is not None:
        raise ConfigError(
            f"this model gives a vector per token and cuts it to {model.truncate_dim} components, which a saved "
            "model cannot; set its truncate_dim to None (or take it out of its config_sentence_transformers.json) to "
            "train it, and give truncate_dim to encode"
        )


def check_guide(guide: Encoder, model: Any) -> None:
    """Whether a model can be the guide of another one's training.

    Raises:
        ConfigError: it is the one that is trained, or gives several vectors per item.
    """
    if guide is model:
        raise ConfigError(
            "the guide is the model that is trained, whose vectors change; give another one, or use "
            'FalseNegatives(by="model")'
        )
    if isinstance(model, Reranker):
        raise ConfigError("a guide is for the losses of an Encoder; leave it out to train a Reranker")
    if guide.multi_vector:
        raise ConfigError("a guide gives one vector per item, and this model gives one per token")


def pair_losses(loss: Loss) -> list[PairLoss]:
    """The losses that a loss for rerankers consists of.

    Raises:
        ConfigError: one of them is for vectors.
    """
    if isinstance(loss, PairLoss):
        return [loss]
    if isinstance(loss, Sum):
        return [found for one in loss.losses for found in pair_losses(one)]
    if isinstance(loss, ByDataset):
        return [found for one in loss.losses.values() for found in pair_losses(one)]
    name = type(loss).__name__
    raise ConfigError(
        f"{name} is for the vectors of an Encoder, and a Reranker gives scores of pairs: use one of "
        "BinaryCrossEntropy, CrossEntropy, InBatchRanking, ScoreMSE, MarginMSE, ListNet, ListMLE, PListMLE, Lambda, "
        "RankNet, ADRMSE (a loss of your own is a sightline.losses.pair_scores.PairLoss)"
    )


def _by_dataset(loss: Loss) -> list[Loss]:
    return list(loss.losses.values()) if isinstance(loss, ByDataset) else [loss]


def _check_loss(loss: Any) -> None:
    if isinstance(loss, type):
        raise ConfigError(f"the loss is the class {loss.__name__}; make one of it: {loss.__name__}(...)")
    if not callable(loss) or type(loss).__module__.split(".")[0] in _OTHERS:
        raise ConfigError(
            f"a {type(loss).__name__} is no loss of Sightline's; docs/from-sentence-transformers.md names ours for "
            "each of Sentence Transformers'"
        )


def _check_scores(needs: tuple[Needs, ...], labels: int) -> None:
    for need in needs:
        if need.classes and labels < 2:
            raise ConfigError(
                f"{need.loss} needs a score per class, but the model gives one per pair; load it with num_labels= the "
                "number of classes, or use BinaryCrossEntropy"
            )
        if not need.classes and labels > 1:
            raise ConfigError(
                f"{need.loss} needs one score per pair, but the model gives {labels}; load it with num_labels=1, or "
                "use CrossEntropy"
            )


def _check_vectors(need: Needs, model: Any) -> None:
    if need.compares == "pairs":
        raise ConfigError(
            f"{need.loss} is for the scores of a Reranker, and an Encoder gives vectors: use a loss over vectors, such "
            "as InfoNCE, Triplet, CoSENT, CosineSimilarity, Contrastive, MarginMSE or DistillKL (docs/losses.md)"
        )
    if need.dims > model.embedding_dim:
        raise ConfigError(
            f"{need.loss} cannot cut to {need.dims} dimensions: the model's embeddings have {model.embedding_dim}; "
            "take out the larger dims"
        )
    late = isinstance(model, Encoder) and model.multi_vector
    advice = f"; {need.advice}" if need.advice else ""
    if late and need.compares == "vectors":
        raise ConfigError(
            f"{need.loss} compares one vector per item, and this model gives one per token (late interaction)"
            f"{advice or '; use InfoNCE, MarginMSE or DistillKL, or a pooled model'}"
        )
    if not late and need.compares == "tokens":
        raise ConfigError(
            f"{need.loss} compares token vectors, and this model gives one vector per item; use the similarity "
            f'"cosine" or "dot", or load the model with multi_vector=True{advice}'
        )
