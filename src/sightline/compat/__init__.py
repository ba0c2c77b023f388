"""Sentence Transformers' names over ours, so that its training scripts run with other import lines.

A script that imports `SentenceTransformer`, its trainer, arguments, losses and evaluators from here trains with our
engine and saves the same files. Where a name has arguments that have no meaning here (``mini_batch_size``: memory is
the step's business), they are taken and not looked at. Nothing in the library imports this module.
"""

from __future__ import annotations

from sightline.compat.losses import (
    AnglELoss,
    BinaryCrossEntropyLoss,
    CachedMultipleNegativesRankingLoss,
    ContrastiveLoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    CrossEntropyLoss,
    ListNetLoss,
    MarginMSELoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)
from sightline.compat.models import (
    CrossEncoder,
    CrossEncoderModelCardData,
    Dense,
    LogitScore,
    Pooling,
    SentenceTransformer,
    SentenceTransformerModelCardData,
    Transformer,
)
from sightline.compat.training import (
    BatchSamplers,
    CrossEncoderRerankingEvaluator,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    InformationRetrievalEvaluator,
    MultiDatasetBatchSamplers,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SequentialEvaluator,
)

__all__ = [
    "AnglELoss",
    "BatchSamplers",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
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
    "InformationRetrievalEvaluator",
    "ListNetLoss",
    "LogitScore",
    "MarginMSELoss",
    "MatryoshkaLoss",
    "MultiDatasetBatchSamplers",
    "MultipleNegativesRankingLoss",
    "Pooling",
    "SentenceTransformer",
    "SentenceTransformerModelCardData",
    "SentenceTransformerTrainer",
    "SentenceTransformerTrainingArguments",
    "SequentialEvaluator",
    "Transformer",
    "TripletLoss",
]
