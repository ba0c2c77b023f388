"""Sightline: fine-tune multimodal retrieval models on your own documents.

The names below are the public surface. Each is imported from its room when it is first used, so that
`import sightline` is quick and loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "ADRMSE",
    "AdaptiveLayers",
    "AnglE",
    "Batch",
    "BatchTriplet",
    "BinaryCrossEntropy",
    "CoSENT",
    "Collection",
    "Contrastive",
    "CosineSimilarity",
    "CrossEntropy",
    "Dataset",
    "Diagnosis",
    "DistillKL",
    "EmbeddingDistillation",
    "Embeddings",
    "Encoder",
    "EndpointSettings",
    "FalseNegatives",
    "Filter",
    "Finding",
    "InBatchRanking",
    "InfoNCE",
    "Item",
    "Lambda",
    "ListMLE",
    "ListNet",
    "LoRA",
    "MarginMSE",
    "Matryoshka",
    "MiningRules",
    "ModelSettings",
    "OfflineSettings",
    "OnlineContrastive",
    "OrthogonalRegularization",
    "PListMLE",
    "QueryExpansion",
    "RankNet",
    "Recipe",
    "Reranker",
    "RerankingEvaluator",
    "RetrievalEvaluator",
    "RoleTexts",
    "ScoreMSE",
    "Searcher",
    "SightlineError",
    "Sum",
    "TokenMask",
    "TokenPooling",
    "Trainer",
    "TrainingArguments",
    "Triplet",
    "VectorOptions",
    "__version__",
    "add_questions",
    "build_index",
    "check_data",
    "compare_systems",
    "export_onnx",
    "ingest",
    "labelled_pairs",
    "load_recipe",
    "mine_columns",
    "mine_negatives",
    "model_questions",
    "offline_questions",
    "open_index",
    "run_recipe",
    "update_index",
]

_HOMES: dict[str, str] = {
    "ADRMSE": "sightline.losses.listwise",
    "AdaptiveLayers": "sightline.losses.layers",
    "AnglE": "sightline.losses.pairwise",
    "Batch": "sightline.types",
    "BatchTriplet": "sightline.losses.triplets",
    "BinaryCrossEntropy": "sightline.losses.pointwise",
    "CoSENT": "sightline.losses.pairwise",
    "Collection": "sightline.evaluation.collection",
    "Contrastive": "sightline.losses.pairwise",
    "CosineSimilarity": "sightline.losses.pairwise",
    "CrossEntropy": "sightline.losses.pointwise",
    "Dataset": "sightline.documents.dataset",
    "Diagnosis": "sightline.documents.doctor.findings",
    "DistillKL": "sightline.losses.distillation",
    "EmbeddingDistillation": "sightline.losses.distillation",
    "Embeddings": "sightline.types",
    "Encoder": "sightline.models.encoder",
    "EndpointSettings": "sightline.documents.generation.endpoint",
    "FalseNegatives": "sightline.losses.joint",
    "Filter": "sightline.search.filters",
    "Finding": "sightline.documents.doctor.findings",
    "InBatchRanking": "sightline.losses.in_batch",
    "InfoNCE": "sightline.losses.contrastive",
    "Item": "sightline.types",
    "Lambda": "sightline.losses.lambda_loss",
    "ListMLE": "sightline.losses.listwise",
    "ListNet": "sightline.losses.listwise",
    "LoRA": "sightline.models.adapters",
    "MarginMSE": "sightline.losses.distillation",
    "Matryoshka": "sightline.losses.compose",
    "MiningRules": "sightline.documents.mining_rules",
    "ModelSettings": "sightline.documents.model_questions",
    "OfflineSettings": "sightline.documents.offline_questions",
    "OnlineContrastive": "sightline.losses.pairwise",
    "OrthogonalRegularization": "sightline.losses.regularization",
    "PListMLE": "sightline.losses.listwise",
    "QueryExpansion": "sightline.inputs.roles",
    "RankNet": "sightline.losses.lambda_loss",
    "Recipe": "sightline.config.recipe",
    "Reranker": "sightline.models.reranker",
    "RerankingEvaluator": "sightline.evaluation.reranking",
    "RetrievalEvaluator": "sightline.evaluation.retrieval",
    "RoleTexts": "sightline.inputs.roles",
    "ScoreMSE": "sightline.losses.pointwise",
    "Searcher": "sightline.search.searcher",
    "SightlineError": "sightline.errors",
    "Sum": "sightline.losses.compose",
    "TokenMask": "sightline.modules.token_mask",
    "TokenPooling": "sightline.modules.token_pooling",
    "Trainer": "sightline.training.trainer",
    "TrainingArguments": "sightline.training.arguments",
    "Triplet": "sightline.losses.triplets",
    "VectorOptions": "sightline.search.options",
    "add_questions": "sightline.documents.adding",
    "build_index": "sightline.search.index",
    "check_data": "sightline.runs.check",
    "compare_systems": "sightline.runs.contest",
    "export_onnx": "sightline.export.onnx_folder",
    "ingest": "sightline.documents.ingest",
    "labelled_pairs": "sightline.training.pair_rows",
    "load_recipe": "sightline.config.load",
    "mine_columns": "sightline.documents.mining_columns",
    "mine_negatives": "sightline.documents.mining",
    "model_questions": "sightline.documents.model_questions",
    "offline_questions": "sightline.documents.offline_questions",
    "open_index": "sightline.search.index",
    "run_recipe": "sightline.runs.train",
    "update_index": "sightline.search.index",
}

if TYPE_CHECKING:
    from sightline.config.load import load_recipe as load_recipe
    from sightline.config.recipe import Recipe as Recipe
    from sightline.documents.adding import add_questions as add_questions
    from sightline.documents.dataset import Dataset as Dataset
    from sightline.documents.doctor.findings import Diagnosis as Diagnosis
    from sightline.documents.doctor.findings import Finding as Finding
    from sightline.documents.generation.endpoint import EndpointSettings as EndpointSettings
    from sightline.documents.ingest import ingest as ingest
    from sightline.documents.mining import mine_negatives as mine_negatives
    from sightline.documents.mining_columns import mine_columns as mine_columns
    from sightline.documents.mining_rules import MiningRules as MiningRules
    from sightline.documents.model_questions import ModelSettings as ModelSettings
    from sightline.documents.model_questions import model_questions as model_questions
    from sightline.documents.offline_questions import OfflineSettings as OfflineSettings
    from sightline.documents.offline_questions import offline_questions as offline_questions
    from sightline.errors import SightlineError as SightlineError
    from sightline.evaluation.collection import Collection as Collection
    from sightline.evaluation.reranking import RerankingEvaluator as RerankingEvaluator
    from sightline.evaluation.retrieval import RetrievalEvaluator as RetrievalEvaluator
    from sightline.export.onnx_folder import export_onnx as export_onnx
    from sightline.inputs.roles import QueryExpansion as QueryExpansion
    from sightline.inputs.roles import RoleTexts as RoleTexts
    from sightline.losses.compose import Matryoshka as Matryoshka
    from sightline.losses.compose import Sum as Sum
    from sightline.losses.contrastive import InfoNCE as InfoNCE
    from sightline.losses.distillation import DistillKL as DistillKL
    from sightline.losses.distillation import EmbeddingDistillation as EmbeddingDistillation
    from sightline.losses.distillation import MarginMSE as MarginMSE
    from sightline.losses.in_batch import InBatchRanking as InBatchRanking
    from sightline.losses.joint import FalseNegatives as FalseNegatives
    from sightline.losses.lambda_loss import Lambda as Lambda
    from sightline.losses.lambda_loss import RankNet as RankNet
    from sightline.losses.layers import AdaptiveLayers as AdaptiveLayers
    from sightline.losses.listwise import ADRMSE as ADRMSE
    from sightline.losses.listwise import ListMLE as ListMLE
    from sightline.losses.listwise import ListNet as ListNet
    from sightline.losses.listwise import PListMLE as PListMLE
    from sightline.losses.pairwise import AnglE as AnglE
    from sightline.losses.pairwise import Contrastive as Contrastive
    from sightline.losses.pairwise import CoSENT as CoSENT
    from sightline.losses.pairwise import CosineSimilarity as CosineSimilarity
    from sightline.losses.pairwise import OnlineContrastive as OnlineContrastive
    from sightline.losses.pointwise import BinaryCrossEntropy as BinaryCrossEntropy
    from sightline.losses.pointwise import CrossEntropy as CrossEntropy
    from sightline.losses.pointwise import ScoreMSE as ScoreMSE
    from sightline.losses.regularization import OrthogonalRegularization as OrthogonalRegularization
    from sightline.losses.triplets import BatchTriplet as BatchTriplet
    from sightline.losses.triplets import Triplet as Triplet
    from sightline.models.adapters import LoRA as LoRA
    from sightline.models.encoder import Encoder as Encoder
    from sightline.models.reranker import Reranker as Reranker
    from sightline.modules.token_mask import TokenMask as TokenMask
    from sightline.modules.token_pooling import TokenPooling as TokenPooling
    from sightline.runs.check import check_data as check_data
    from sightline.runs.contest import compare_systems as compare_systems
    from sightline.runs.train import run_recipe as run_recipe
    from sightline.search.filters import Filter as Filter
    from sightline.search.index import build_index as build_index
    from sightline.search.index import open_index as open_index
    from sightline.search.index import update_index as update_index
    from sightline.search.options import VectorOptions as VectorOptions
    from sightline.search.searcher import Searcher as Searcher
    from sightline.training.arguments import TrainingArguments as TrainingArguments
    from sightline.training.pair_rows import labelled_pairs as labelled_pairs
    from sightline.training.trainer import Trainer as Trainer
    from sightline.types import Batch as Batch
    from sightline.types import Embeddings as Embeddings
    from sightline.types import Item as Item


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'sightline' has no attribute {name!r}{hint}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
