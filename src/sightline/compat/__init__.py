"""Sentence Transformers' names over ours, so that its training scripts run with other import lines.

A script that imports `SentenceTransformer`, its trainer, arguments, losses and evaluators from here trains with our
engine and saves the same files. Arguments that change no number here (``mini_batch_size``: memory is the step's
business) are taken and not looked at; those that ask for what Sightline does not do are refused by name. Nothing in
the library imports this module.
"""

from __future__ import annotations

from typing import NoReturn

from sightline.compat.evaluation import (
    CrossEncoderRerankingEvaluator,
    InformationRetrievalEvaluator,
    SequentialEvaluator,
)
from sightline.compat.left_out import why_not
from sightline.compat.losses import (
    AdaptiveLayerLoss,
    AnglELoss,
    BatchAllTripletLoss,
    BatchHardSoftMarginTripletLoss,
    BatchHardTripletLoss,
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    ContrastiveLoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    DistillKLDivLoss,
    EmbedDistillLoss,
    GISTEmbedLoss,
    GlobalOrthogonalRegularizationLoss,
    MarginMSELoss,
    Matryoshka2dLoss,
    MatryoshkaLoss,
    MSELoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
    OnlineContrastiveLoss,
    SiameseDistanceMetric,
    TripletDistanceMetric,
    TripletLoss,
)
from sightline.compat.mining import mine_hard_negatives
from sightline.compat.models import (
    CrossEncoder,
    CrossEncoderModelCardData,
    SentenceTransformer,
    SentenceTransformerModelCardData,
)
from sightline.compat.modules import (
    Dense,
    LogitScore,
    Normalize,
    Pooling,
    Router,
    Transformer,
)
from sightline.compat.pair_losses import (
    ADRMSELoss,
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    LambdaLoss,
    LambdaRankScheme,
    ListMLELoss,
    ListNetLoss,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
    NoWeightingScheme,
    PListMLELambdaWeight,
    PListMLELoss,
    RankNetLoss,
)
from sightline.compat.similarity import SimilarityFunction, cos_sim, dot_score
from sightline.compat.training import (
    BatchSamplers,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    MultiDatasetBatchSamplers,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)

__all__ = [
    "ADRMSELoss",
    "AdaptiveLayerLoss",
    "AnglELoss",
    "BatchAllTripletLoss",
    "BatchHardSoftMarginTripletLoss",
    "BatchHardTripletLoss",
    "BatchHardTripletLossDistanceFunction",
    "BatchSamplers",
    "BatchSemiHardTripletLoss",
    "BinaryCrossEntropyLoss",
    "CachedGISTEmbedLoss",
    "CachedMultipleNegativesRankingLoss",
    "CachedMultipleNegativesSymmetricRankingLoss",
    "CoSENTLoss",
    "ContrastiveLoss",
    "CosineSimilarityLoss",
    "CrossEncoder",
    "CrossEncoderModelCardData",
    "CrossEncoderRerankingEvaluator",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
    "CrossEntropyLoss",
    "Dense",
    "DistillKLDivLoss",
    "EmbedDistillLoss",
    "GISTEmbedLoss",
    "GlobalOrthogonalRegularizationLoss",
    "InformationRetrievalEvaluator",
    "LambdaLoss",
    "LambdaRankScheme",
    "ListMLELoss",
    "ListNetLoss",
    "LogitScore",
    "MSELoss",
    "MarginMSELoss",
    "Matryoshka2dLoss",
    "MatryoshkaLoss",
    "MultiDatasetBatchSamplers",
    "MultipleNegativesRankingLoss",
    "MultipleNegativesSymmetricRankingLoss",
    "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme",
    "NDCGLoss2Scheme",
    "NoWeightingScheme",
    "Normalize",
    "OnlineContrastiveLoss",
    "PListMLELambdaWeight",
    "PListMLELoss",
    "Pooling",
    "RankNetLoss",
    "Router",
    "SentenceTransformer",
    "SentenceTransformerModelCardData",
    "SentenceTransformerTrainer",
    "SentenceTransformerTrainingArguments",
    "SequentialEvaluator",
    "SiameseDistanceMetric",
    "SimilarityFunction",
    "Transformer",
    "TripletDistanceMetric",
    "TripletLoss",
    "cos_sim",
    "dot_score",
    "mine_hard_negatives",
]


def __getattr__(name: str) -> NoReturn:
    """Names that Sentence Transformers has and this module has not: an error that says what to use instead."""
    raise (AttributeError if name.startswith("_") else ImportError)(why_not(name))
