"""Encoders and rerankers in mteb's own evaluation: `for_mteb` gives what ``mteb.evaluate`` takes as a model.

    import mteb
    from sightline.evaluation.mteb import for_mteb

    mteb.evaluate(for_mteb(encoder), tasks=mteb.get_tasks(["NFCorpus"]))

Needs ``pip install sightline[mteb]``. The protocols are those of ``mteb.models.models_protocols`` (mteb 2).
"""

# Shapes: N inputs, D embedding dimension, Q queries, K results per query.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mteb._create_dataloaders import create_dataloader
from mteb.models.abs_encoder import get_prompt_name
from mteb.models.modality_collators import AudioCollator
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from sightline.errors import ConfigError
from sightline.evaluation.token_search import search_tokens
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.utils.data import DataLoader

_READ = ("text", "image", "audio")
_MEASURES = {
    "cosine": ScoringFunction.COSINE,
    "dot": ScoringFunction.DOT_PRODUCT,
    "maxsim": ScoringFunction.MAX_SIM,
}
# Clips are brought to the model's own rate when they are read; mteb asks for one of its own on the way.
_RATE = 16_000


def for_mteb(model: Encoder | Reranker) -> MtebEncoder | MtebSearch | MtebReranker:
    """``model`` behind the mteb protocol that fits it.

    Encoders are asked with the prompt that mteb's rules choose among the model's (task name, task type, query or
    document); without one, with their own for the role. Late-interaction encoders search with MaxSim, in blocks.
    Rerankers need tasks that bring candidates (reranking tasks, or the predictions of an earlier search).
    """
    if isinstance(model, Reranker):
        return MtebReranker(model)
    return MtebSearch(model) if model.multi_vector else MtebEncoder(model)


class MtebEncoder:
    """An encoder of one vector per input, as mteb's ``EncoderProtocol``."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name, modalities, dimension and similarity."""
        return _encoder_meta(self.encoder, "dense")

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = True,
        **options: Any,
    ) -> np.ndarray:
        """The vectors (N, D) float32 of all inputs.

        Raises:
            ConfigError: the task has a modality that the encoder does not take; an option other than mteb's
                ``batch_size`` (Sightline plans its own) or a float32 ``precision``.
        """
        _check_options(options)
        values = _values(inputs, self.encoder.modalities)
        named = get_prompt_name(dict(self.encoder.prompts), task_metadata, prompt_type)
        return self.encoder.encode(
            values, role=_role(prompt_type), prompt_name=named, show_progress=show_progress_bar
        ).numpy()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """All similarities (N, N') of two sets of vectors; a single vector counts as a set of one."""
        return self.encoder.similarity(_rows(embeddings1), _rows(embeddings2))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """The similarities (N,) of vectors with their partners."""
        return self.encoder.similarity_pairwise(_rows(embeddings1), _rows(embeddings2))


class MtebSearch:
    """A late-interaction encoder, as mteb's ``SearchProtocol``."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._ids: list[str] = []
        self._documents: Any = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name, modalities, dimension and similarity."""
        return _encoder_meta(self.encoder, "late-interaction")

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **_: Any,
    ) -> None:
        """Embeds the corpus, and keeps its token vectors."""
        self._ids = list(corpus["id"])
        self._documents = self._encoded(corpus, task_metadata, PromptType.document, encode_kwargs)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, list[str]] | None = None,
        num_proc: int | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """The ``top_k`` documents of each query with their MaxSim; among ``top_ranked`` where that is given."""
        asked = list(queries["id"])
        vectors = self._encoded(queries, task_metadata, PromptType.query, encode_kwargs)
        if top_ranked is None:
            return self._search(asked, vectors, list(range(len(self._ids))), top_k)
        places = {name: place for place, name in enumerate(self._ids)}
        found: dict[str, dict[str, float]] = {}
        for number, query in enumerate(asked):
            among = [places[name] for name in top_ranked[query]]
            found |= self._search([query], vectors[[number]], among, top_k)
        return found

    def _search(
        self, asked: list[str], vectors: Any, among: list[int], top_k: int
    ) -> dict[str, dict[str, float]]:
        documents = self._documents if len(among) == len(self._ids) else self._documents[among]
        best = search_tokens(
            vectors, documents, top_k, similarity=self.encoder.similarity_fn_name, device=self.encoder.device
        )[vectors.dim]
        return {
            query: {self._ids[among[place]]: score for place, score in zip(places, scores)}
            for query, places, scores in zip(asked, best.indices.tolist(), best.scores.tolist())
        }

    def _encoded(self, rows: Any, task_metadata: Any, side: PromptType, options: Mapping[str, Any]) -> Any:
        loader = create_dataloader(rows, task_metadata=task_metadata, prompt_type=side)
        named = get_prompt_name(dict(self.encoder.prompts), task_metadata, side)
        return self.encoder.encode(
            _values(loader, self.encoder.modalities),
            role=_role(side),
            prompt_name=named,
            show_progress=options.get("show_progress_bar", True),
        )


class MtebReranker:
    """A reranker, as mteb's ``CrossEncoderProtocol``."""

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name and modalities."""
        return _meta(self.reranker, model_type=["cross-encoder"])

    def predict(
        self,
        inputs1: DataLoader[Any],
        inputs2: DataLoader[Any],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = True,
        **options: Any,
    ) -> np.ndarray:
        """The scores (N,) of the queries ``inputs1`` with the documents ``inputs2``.

        Raises:
            ConfigError: as of `MtebEncoder.encode`.
        """
        _check_options(options)
        takes = self.reranker.modalities
        pairs = zip(_values(inputs1, takes), _values(inputs2, takes), strict=True)
        return self.reranker.predict(pairs, show_progress=show_progress_bar)


def _values(inputs: DataLoader[Any], takes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Each input as a dict of the modalities that the model takes."""
    given = set(inputs.dataset.features)  # type: ignore[attr-defined]
    wanted = [name for name in _READ if name in given and name in takes]
    if not wanted or "video" in given:
        has = ", ".join(name for name in (*_READ, "video") if name in given) or "none that Sightline knows"
        raise ConfigError(
            f"mteb hands over {has}; this model takes {', '.join(takes)} (video not through mteb)"
        )
    if "audio" in wanted:
        inputs.collate_fn = AudioCollator(target_sampling_rate=_RATE)
    return (
        {name: value for name, value in zip(wanted, row) if value is not None}
        for batch in inputs
        for row in zip(*(batch[name] for name in wanted), strict=True)
    )


def _role(side: PromptType | None) -> str | None:
    return None if side is None else ("query" if side == PromptType.query else "document")


def _rows(vectors: Any) -> Tensor:
    import torch

    rows = torch.as_tensor(vectors)
    return rows[None] if rows.ndim == 1 else rows


def _check_options(options: Mapping[str, Any]) -> None:
    left = {name: value for name, value in options.items() if name != "batch_size"}
    if left.pop("precision", "float32") not in (None, "float32"):
        raise ConfigError("mteb's precision is float32 here; `sightline compare` measures quantised vectors")
    if left:
        raise ConfigError(f"option {next(iter(left))!r} is not one that Sightline's models take in mteb")


def _encoder_meta(encoder: Encoder, kind: str) -> ModelMeta:
    similarity = _MEASURES.get(encoder.similarity_fn_name)
    return _meta(encoder, model_type=[kind], embed_dim=encoder.embedding_dim, similarity_fn_name=similarity)


def _meta(model: Encoder | Reranker, **facts: Any) -> ModelMeta:
    # mteb's names are "organisation/model"; a folder has no organisation.
    name = (
        model.name_or_path if model.name_or_path.count("/") == 1 else f"local/{Path(model.name_or_path).name}"
    )
    seen = [part for part in model.modalities if part in _READ]
    return ModelMeta.create_empty(
        overwrites={"name": name, "modalities": seen, "framework": ["PyTorch"], **facts}
    )
