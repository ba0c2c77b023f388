"""What Sentence Transformers calls our losses, for the model cards its users read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

ST_LOSSES = {
    "ADRMSE": "ADRMSELoss",
    "AdaptiveLayers": "AdaptiveLayerLoss",
    "AnglE": "AnglELoss",
    "BatchTriplet": "BatchHardTripletLoss",
    "BinaryCrossEntropy": "BinaryCrossEntropyLoss",
    "CoSENT": "CoSENTLoss",
    "Contrastive": "ContrastiveLoss",
    "CosineSimilarity": "CosineSimilarityLoss",
    "CrossEntropy": "CrossEntropyLoss",
    "DistillKL": "DistillKLDivLoss",
    "EmbeddingDistillation": "EmbedDistillLoss",
    "InBatchRanking": "MultipleNegativesRankingLoss",
    "InfoNCE": "MultipleNegativesRankingLoss",
    "Lambda": "LambdaLoss",
    "ListMLE": "ListMLELoss",
    "ListNet": "ListNetLoss",
    "MarginMSE": "MarginMSELoss",
    "Matryoshka": "MatryoshkaLoss",
    "OnlineContrastive": "OnlineContrastiveLoss",
    "OrthogonalRegularization": "GlobalOrthogonalRegularizationLoss",
    "PListMLE": "PListMLELoss",
    "RankNet": "RankNetLoss",
    "ScoreMSE": "MSELoss",
    "Triplet": "TripletLoss",
}
# Of a late-interaction model. Its other losses have no counterpart there.
ST_TOKEN_LOSSES = {
    "DistillKL": "MultiVectorDistillKLDivLoss",
    "InfoNCE": "MultiVectorMultipleNegativesRankingLoss",
    "MarginMSE": "MultiVectorMarginMSELoss",
}
_MINING = {"semi-hard": "BatchSemiHardTripletLoss", "all": "BatchAllTripletLoss"}


def st_loss_names(loss: Any, *, tokens: bool = False) -> list[str]:
    """Sentence Transformers' names of a loss and of those inside it, outermost first; none for what it has not.

    Args:
        loss: ours, or any callable.
        tokens: the model is one of late interaction, whose losses have names of their own.
    """
    if not is_dataclass(loss) or isinstance(loss, type):
        return []
    name = _of_tokens(loss) if tokens else _of_vectors(loss)
    inner = [one for value in vars(loss).values() for one in _members(value)]
    found = [one for member in inner for one in st_loss_names(member, tokens=tokens)]
    return [*([name] if name else []), *found]


def _of_tokens(loss: Any) -> str | None:
    # It has neither the symmetric nor the guided loss for token vectors.
    if type(loss).__name__ == "InfoNCE" and (loss.symmetric or not loss.is_plain):
        return None
    return ST_TOKEN_LOSSES.get(type(loss).__name__)


def _of_vectors(loss: Any) -> str | None:
    settings = vars(loss)
    name = ST_LOSSES.get(type(loss).__name__)
    if type(loss).__name__ == "InfoNCE" and settings["symmetric"]:
        name = "MultipleNegativesSymmetricRankingLoss"
    if type(loss).__name__ == "InfoNCE" and (rule := settings["false_negatives"]) and rule.by == "guide":
        name = "GISTEmbedLoss"
    if type(loss).__name__ == "BatchTriplet":
        name = _MINING.get(settings["mining"], name)
        if settings["margin"] is None:
            name = "BatchHardSoftMarginTripletLoss"
    return name


def _members(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]
