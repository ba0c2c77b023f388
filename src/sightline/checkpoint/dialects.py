"""The spellings of Sentence Transformers 2 to 6, as tables. Class paths are looked up, never imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.errors import CheckpointError, ConfigError
from sightline.modules.calls import Call, CallTable
from sightline.modules.layer_pooling import WeightedLayerPooling
from sightline.modules.token_mask import TokenMask
from sightline.modules.token_pooling import TokenPooling

# Class name at the end of the path -> our kind. ST moved its modules between packages in every major
# release (models.X, models.X.X, sentence_transformer.modules.x.X, base.modules.x.X); the name stayed.
_KINDS: Mapping[str, str] = {
    "Transformer": "backbone",
    "CLIPModel": "clip",
    "Pooling": "pooling",
    "WeightedLayerPooling": "layer_pooling",
    "Dense": "dense",
    "Normalize": "normalize",
    "LayerNorm": "layer_norm",
    "Dropout": "dropout",
    "Router": "router",
    "Asym": "router",
    "LogitScore": "logit_score",
    "MultiVectorMask": "token_mask",
    "HierarchicalTokenPooling": "token_pooling",
}

# Multimodal backbones came with ST 5.4, under this path; rerankers' own modules.json with ST 6.
MULTIMODAL_BACKBONE = "sentence_transformers.base.modules.transformer.Transformer"
_MULTI_VECTOR = "sentence_transformers.multi_vector_encoder.modules"  # with ST 6

# What we write: the spelling every release from 2 to 6 reads, except where only a newer one can say it.
SPELLINGS: Mapping[str, str] = {
    "backbone": "sentence_transformers.models.Transformer",
    "pooling": "sentence_transformers.models.Pooling",
    "layer_pooling": "sentence_transformers.models.WeightedLayerPooling",
    "dense": "sentence_transformers.models.Dense",
    "normalize": "sentence_transformers.models.Normalize",
    "layer_norm": "sentence_transformers.models.LayerNorm",
    "dropout": "sentence_transformers.models.Dropout",
    "router": "sentence_transformers.models.Router",
    "token_mask": f"{_MULTI_VECTOR}.multi_vector_mask.MultiVectorMask",
    "token_pooling": f"{_MULTI_VECTOR}.token_pooling.HierarchicalTokenPooling",
    "sequence_scores": MULTIMODAL_BACKBONE,
    "language_model": MULTIMODAL_BACKBONE,
    "logit_score": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
}

FOLDER_NAMES: Mapping[str, str] = {
    "backbone": "Transformer",
    "pooling": "Pooling",
    "layer_pooling": "WeightedLayerPooling",
    "dense": "Dense",
    "normalize": "Normalize",
    "layer_norm": "LayerNorm",
    "dropout": "Dropout",
    "router": "Router",
    "token_mask": "MultiVectorMask",
    "token_pooling": "HierarchicalTokenPooling",
    "sequence_scores": "Transformer",
    "language_model": "Transformer",
    "logit_score": "LogitScore",
}

_LEGACY_POOLING: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

_SINGLE = frozenset({"text", "image", "audio", "video", "message"})


def kind_of(class_path: str, where: str) -> str:
    """Our kind for a class path found in a checkpoint.

    Raises:
        CheckpointError: a class outside Sentence Transformers, or one without an equivalent here.
    """
    package, _, name = class_path.rpartition(".")
    if package.split(".")[0] not in ("sentence_transformers", "sightline", "pylate"):
        raise CheckpointError(
            f"{where}: the checkpoint asks for the class {class_path!r}; code named in a checkpoint is never run"
        )
    if name not in _KINDS:
        raise CheckpointError(
            f"{where}: {class_path!r} has no equivalent in Sightline; known: {', '.join(_KINDS)}"
        )
    return _KINDS[name]


def pooling_facts(data: Mapping[str, Any], where: str) -> tuple[int, tuple[str, ...], bool]:
    """Dimension, modes and include_prompt out of a pooling file of any release.

    Raises:
        CheckpointError: no dimension in the file.
    """
    dim = data.get("embedding_dimension", data.get("word_embedding_dimension"))
    if not isinstance(dim, int):
        raise CheckpointError(f"{where}: no embedding_dimension")
    modes = data.get("pooling_mode")
    if modes is None:
        modes = tuple(mode for key, mode in _LEGACY_POOLING.items() if data.get(key)) or ("mean",)
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    return dim, modes, bool(data.get("include_prompt", True))


def layer_pooling(facts: Mapping[str, Any], where: str) -> WeightedLayerPooling:
    """Weighted layers out of their file, in the spelling of any release.

    Raises:
        CheckpointError: no dimension in the file, or a value that cannot be.
    """
    dim = facts.get("embedding_dimension", facts.get("word_embedding_dimension"))
    if not isinstance(dim, int):
        raise CheckpointError(f"{where}: no embedding_dimension")
    try:  # the defaults of ST's module
        layers, start = int(facts.get("num_hidden_layers", 12)), int(facts.get("layer_start", 4))
        return WeightedLayerPooling(dim, layers, start)
    except (CheckpointError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error


def legacy_pooling_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A pooling file in the spelling of ST 2, which every later release reads."""
    modes = facts["pooling_mode"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    flags = {key: mode in modes for key, mode in _LEGACY_POOLING.items()}
    order = [mode for mode in _LEGACY_POOLING.values() if mode in modes]
    if order != modes:
        # The flags fix the order of concatenation; another order can only be said in the new spelling.
        return dict(facts)
    return {
        "word_embedding_dimension": facts["embedding_dimension"],
        **flags,
        "include_prompt": facts["include_prompt"],
    }


def token_mask(facts: Mapping[str, Any], where: str) -> TokenMask:
    """A token mask out of its file.

    Raises:
        CheckpointError: an entry that is no list.
    """
    tasks = facts.get("skiplist_tasks") or ["document"]
    words, keep = facts.get("skiplist_words") or [], facts.get("keep_only_token_ids")
    tasks = [tasks] if isinstance(tasks, str) else tasks
    for name, value in (
        ("skiplist_words", words),
        ("skiplist_tasks", tasks),
        ("keep_only_token_ids", keep or []),
    ):
        if not isinstance(value, list):
            raise CheckpointError(f"{where}: {name} is a {type(value).__name__}, not a list")
    return TokenMask(words, skiplist_tasks=tasks, keep_only_token_ids=keep)


def token_pooling(facts: Mapping[str, Any], where: str) -> TokenPooling:
    """A token pooling out of its file.

    Raises:
        CheckpointError: a value that cannot be.
    """
    tasks = facts.get("tasks") or ["document"]
    try:
        return TokenPooling(
            float(facts.get("pool_factor", 1.0)),
            protected=int(facts.get("num_protected_tokens", 1)),
            # ST before the entry did not normalise, and reads files without it so.
            normalize=bool(facts.get("normalize_embeddings", False)),
            tasks=[tasks] if isinstance(tasks, str) else tasks,
        )
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error


def call_table(data: Mapping[str, Any], where: str) -> CallTable | None:
    """The call table a backbone file carries (ST 5.4 and later), or None when it carries none.

    Raises:
        CheckpointError: an entry is not of the form ``{"method", "method_output_name"}``.
    """
    saved = data.get("modality_config")
    if saved is None:
        return None
    calls = {}
    for name, entry in saved.items():
        parts = tuple(sorted(name.split("+")))
        if not set(parts) <= _SINGLE or not isinstance(entry, Mapping) or "method" not in entry:
            raise CheckpointError(f"{where}: modality_config entry {name!r} is not understood")
        if not str(entry["method"]).isidentifier() or str(entry["method"]).startswith("_"):
            raise CheckpointError(f"{where}: modality_config names the method {entry['method']!r}")
        output = entry.get("method_output_name")
        calls[parts if len(parts) > 1 else parts[0]] = Call(
            str(entry["method"]), tuple(output) if isinstance(output, list) else output
        )
    return CallTable(calls, str(data.get("module_output_name", "token_embeddings")))


def is_text_only(table: CallTable) -> bool:
    """Whether the backbone is the one of ST 2 to 5.3: text in, hidden states out."""
    return table == TEXT_ONLY


TEXT_ONLY = CallTable({"text": Call()})
CLIP = CallTable(
    {
        "text": Call("get_text_features", "pooler_output"),
        "image": Call("get_image_features", "pooler_output"),
    },
    "sentence_embedding",
)


def parse_route_key(text: str, where: str) -> tuple[str | None, str | tuple[str, ...] | None]:
    """A key of route_mappings: the text of a Python tuple such as ``(None, 'image')``.

    Raises:
        CheckpointError: anything else.
    """
    import ast

    try:
        role, modality = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError) as error:
        raise CheckpointError(
            f"{where}: route_mappings key {text!r} is not a (task, modality) pair"
        ) from error
    return role, tuple(sorted(modality)) if isinstance(modality, (tuple, list)) else modality
