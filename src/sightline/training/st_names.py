"""What Sentence Transformers calls our losses, for the model cards its users read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

ST_LOSSES = {
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
_MINING = {"semi-hard": "BatchSemiHardTripletLoss", "all": "BatchAllTripletLoss"}


def st_loss_names(loss: Any) -> list[str]:
    """Sentence Transformers' names of a loss and of those inside it, outermost first; none for what it has not."""
    if not is_dataclass(loss) or isinstance(loss, type):
        return []
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
    inner = [one for value in settings.values() for one in _members(value)]
    return [*([name] if name else []), *(found for one in inner for found in st_loss_names(one))]


def _members(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]
