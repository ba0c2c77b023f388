"""Sightline: fine-tune multimodal retrieval models on your own documents.

The names below are the public surface. Each is imported from its room when it is first used, so that
`import sightline` is quick and loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Dataset",
    "Embeddings",
    "Encoder",
    "InfoNCE",
    "Item",
    "Matryoshka",
    "Recipe",
    "Reranker",
    "RetrievalEvaluator",
    "Searcher",
    "SightlineError",
    "Trainer",
    "TrainingArguments",
    "__version__",
    "build_index",
    "ingest",
    "load_recipe",
    "run_recipe",
]

_HOMES: dict[str, str] = {
    "Batch": "sightline.types",
    "Dataset": "sightline.documents.dataset",
    "Embeddings": "sightline.types",
    "Encoder": "sightline.models.encoder",
    "InfoNCE": "sightline.losses.contrastive",
    "Item": "sightline.types",
    "Matryoshka": "sightline.losses.compose",
    "Recipe": "sightline.config.recipe",
    "Reranker": "sightline.models.reranker",
    "RetrievalEvaluator": "sightline.evaluation.retrieval",
    "Searcher": "sightline.search.searcher",
    "SightlineError": "sightline.errors",
    "Trainer": "sightline.training.trainer",
    "TrainingArguments": "sightline.training.arguments",
    "build_index": "sightline.search.index",
    "ingest": "sightline.documents.ingest",
    "load_recipe": "sightline.config.load",
    "run_recipe": "sightline.runs.train",
}

if TYPE_CHECKING:
    from sightline.config.load import load_recipe as load_recipe
    from sightline.config.recipe import Recipe as Recipe
    from sightline.documents.dataset import Dataset as Dataset
    from sightline.documents.ingest import ingest as ingest
    from sightline.errors import SightlineError as SightlineError
    from sightline.evaluation.retrieval import RetrievalEvaluator as RetrievalEvaluator
    from sightline.losses.compose import Matryoshka as Matryoshka
    from sightline.losses.contrastive import InfoNCE as InfoNCE
    from sightline.models.encoder import Encoder as Encoder
    from sightline.models.reranker import Reranker as Reranker
    from sightline.runs.train import run_recipe as run_recipe
    from sightline.search.index import build_index as build_index
    from sightline.search.searcher import Searcher as Searcher
    from sightline.training.arguments import TrainingArguments as TrainingArguments
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
