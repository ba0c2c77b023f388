"""Late-interaction checkpoints: what PyLate, Stanford's ColBERT and transformers keep elsewhere than ST 6 does.

========================  =======================================================================================
ST's MultiVectorEncoder   ``modules.json`` lists every part; nothing to do here
PyLate                    limits, expansion, markers and skiplist in ``config_sentence_transformers.json``; release 3
                          (``model_type`` "ColBERT") and older list no mask and no normalisation
Stanford's ColBERT        architecture ``HF_ColBERT``; projection among the backbone's weights, settings in
                          ``artifact.metadata``
transformers              architectures ``...ForRetrieval`` (ColPali, ColQwen2, ColModernVBert) project and normalise
                          themselves
========================  =======================================================================================
"""

from __future__ import annotations

import logging
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import AddedToken
from torch import nn
from transformers import PreTrainedTokenizerBase

from sightline.checkpoint import layout
from sightline.checkpoint.backbones import RETRIEVAL, load_backbone
from sightline.checkpoint.options import LoadOptions
from sightline.errors import CheckpointError
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.calls import Call, CallTable, Modality
from sightline.modules.heads import POOLED, Dense, Normalize
from sightline.modules.pooling import Pooling
from sightline.modules.token_mask import TokenMask

log = logging.getLogger("sightline")

TOKENS = "token_embeddings"
SIMILARITIES = ("maxsim", "meanmaxsim")
# Components of a new projection; ColBERT's.
NEW_DIMENSION = 128
_PYLATE = "ColBERT"
_MARKERS = {"query_prefix": "query", "document_prefix": "document"}
_TEXTS = ("query_length", "document_length", "query_expansion")
_PYLATE_KEYS = frozenset(
    {*_MARKERS, *_TEXTS, "do_query_expansion", "attend_to_expansion_tokens", "attend_to_mask_tokens",
     "skiplist_words"}
)  # fmt: skip
_NATIVE = Call("forward", "embeddings")
_TEXTS_ONLY = "ColModernVBertForRetrieval"


@dataclass(frozen=True)
class Heritage:
    """What a checkpoint keeps in places of its own.

    Attributes:
        texts: facts for the backbone's file, where that has none.
        markers: texts the tokenizer is to keep whole, such as ``[Q] ``.
        skiplist: words that are not compared in documents.
        unlisted: masking and normalisation are done without being listed.
    """

    texts: Mapping[str, Any] = field(default_factory=dict)
    markers: Sequence[str] = ()
    skiplist: Sequence[str] = ()
    unlisted: bool = False


def is_late(saved: Mapping[str, Any]) -> bool:
    """Whether ``config_sentence_transformers.json`` is a multi-vector model's."""
    return saved.get("model_type") in (layout.MULTI_VECTOR, _PYLATE) or bool(_MARKERS.keys() & saved.keys())


def take_facts(saved: Mapping[str, Any], facts: layout.ModelFacts) -> Heritage:
    """Brings ``facts`` to ST's form, and returns what goes to the parts."""
    facts.similarity_fn_name = (
        saved["similarity_fn_name"] if saved.get("similarity_fn_name") in SIMILARITIES else None
    )
    unlisted = facts.model_type != layout.MULTI_VECTOR
    facts.model_type = layout.MULTI_VECTOR
    markers = []
    for key, role in _MARKERS.items():
        if key in saved:
            marker = saved[key] or ""
            markers.append(marker)
            # Where a prompt is saved too, the marker stands in front of it.
            facts.prompts[role] = marker + (facts.prompts.get(role) or "").removeprefix(marker)
    skiplist = saved.get("skiplist_words")
    if skiplist is None:
        skiplist = list(string.punctuation) if unlisted else []
    return Heritage(_texts(saved), markers, skiplist, unlisted)


def _texts(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Limits and expansion out of PyLate's keys, in ST's spelling."""
    found = {key: saved[key] for key in _TEXTS if saved.get(key) is not None}
    if "query_expansion" in saved or not _PYLATE_KEYS & saved.keys():
        return found
    if saved.get("do_query_expansion") is False:
        return found
    # PyLate expands to the query length, which is then no limit of its own.
    attend = saved.get("attend_to_expansion_tokens", saved.get("attend_to_mask_tokens"))
    length = found.pop("query_length", None) or 32
    return found | {"query_expansion": {"strategy": "fixed", "attend": bool(attend), "length": length}}


def complete(parts: list[Module], heritage: Heritage) -> list[Module]:
    """The parts with what the checkpoint does without listing it, and with markers its tokenizer keeps whole."""
    for part in parts:
        if isinstance(part, Backbone) and part.processor.tokenizer is not None:
            keep_whole(part.processor.tokenizer, heritage.markers)
    if not heritage.unlisted:
        return parts
    return [*parts, TokenMask(heritage.skiplist), Normalize(input_name=TOKENS)]


def keep_whole(tokenizer: PreTrainedTokenizerBase, markers: Sequence[str]) -> None:
    """Makes special tokens of those markers that are tokens but would be cut up in a text.

    A model was trained with the marker as one token, put in by its id; in front of a text it has to come out as
    that token. Markers that are no tokens (a prompt such as ``query: ``) stay plain text.
    """
    known = {*tokenizer.get_vocab(), *tokenizer.added_tokens_encoder}
    added = []
    for marker in markers:
        if not marker.strip():
            continue
        token = next((one for one in (marker, marker.split(None, 1)[0]) if one in known), None)
        if token is not None and tokenizer.tokenize(token) != [token]:
            added.append(AddedToken(token, normalized=False, special=True))
    if added:
        extra: Any = {"additional_special_tokens": added}
        tokenizer.add_special_tokens(extra)


def check_dimension(parts: Sequence[Module], dimension: bool | int, folder: Path) -> None:
    """Whether a late-interaction model has the components that were asked for by number.

    Raises:
        CheckpointError: it has another number, which is its own.
    """
    found = next((part.output_dim for part in reversed(parts) if part.output_dim is not None), None)
    if dimension is not True and dimension and found != dimension:
        raise CheckpointError(
            f"{folder}: its token vectors have {found} components, not {dimension}: it has a projection of its own; "
            "ask for multi_vector without a number"
        )


def converted(parts: Sequence[Module], folder: Path, dimension: int) -> list[Module]:
    """Token vectors out of the parts of a pooling model: what pools goes, a projection stays or is added.

    Args:
        parts: of the pooling model.
        folder: for messages.
        dimension: components of the token vectors, where the projection is new.

    Raises:
        CheckpointError: the model does not start with a backbone that gives token vectors.
    """
    first = parts[0]
    if not isinstance(first, Backbone) or first.table.writes != TOKENS:
        raise CheckpointError(
            f"{folder}: starts with no part that gives a vector per token, so it cannot become a "
            "late-interaction model"
        )
    kept: list[Module] = []
    for part in parts:
        if isinstance(part, Pooling) or (isinstance(part, Normalize) and part.input_name == POOLED):
            continue
        if isinstance(part, Dense) and part.input_name == POOLED:
            part.input_name = part.output_name = TOKENS
        kept.append(part)
    if not any(isinstance(part, Dense) for part in kept):
        log.warning(
            "%s has no projection for late interaction: its token vectors go through a new one of random weights, "
            "to %d components, and mean nothing until it is trained", folder.name, dimension,
        )  # fmt: skip
        kept.append(_projection(first.output_dim, dimension))
    return [*kept, TokenMask(), Normalize(input_name=TOKENS)]


def bare(folder: Path, options: LoadOptions, facts: layout.ModelFacts) -> list[Module] | None:
    """The parts of a transformers checkpoint that is a late-interaction model, or None where it is none."""
    architectures = layout.read_facts(folder / "config.json").get("architectures") or []
    if "HF_ColBERT" in architectures:
        return _stanford(folder, options, facts)
    if any(str(name).endswith("ForRetrieval") for name in architectures):
        facts.model_type = layout.MULTI_VECTOR
        saved = {"transformer_task": RETRIEVAL}
        calls: dict[Modality, Call] = {"text": _NATIVE, "image": _NATIVE}
        if _TEXTS_ONLY in architectures:
            del calls["image"]
            log.warning(
                "%s is read for texts alone: its processor prepares an image without a text by a method of its own, "
                "which neither Sentence Transformers nor Sightline calls", folder.name,
            )  # fmt: skip
        table = CallTable(calls, TOKENS)
        backbone, _ = load_backbone(folder, options, facts=saved, table=table)
        return [backbone, TokenMask()]
    return None


def _stanford(folder: Path, options: LoadOptions, facts: layout.ModelFacts) -> list[Module]:
    metadata = layout.read_facts(folder / "artifact.metadata")
    if not metadata:
        log.warning("%s has no artifact.metadata: using ColBERT's usual settings", folder.name)
    markers = {
        "query": (metadata.get("query_token_id") or "[unused0]") + " ",
        "document": (metadata.get("doc_token_id") or "[unused1]") + " ",
    }
    facts.model_type = layout.MULTI_VECTOR
    facts.prompts = markers | facts.prompts
    texts: dict[str, Any] = {
        "query_expansion": {
            "strategy": "fixed",
            "attend": bool(metadata.get("attend_to_mask_tokens")),
            "length": metadata.get("query_maxlen") or 32,
        }
    }
    if metadata.get("doc_maxlen") is not None:
        texts["document_length"] = metadata["doc_maxlen"]
    backbone, _ = load_backbone(folder, options, facts=texts)
    skiplist = list(string.punctuation) if metadata.get("mask_punctuation", True) else []
    parts: list[Module] = [backbone, _stanford_projection(folder)]
    return complete(parts, Heritage(markers=tuple(markers.values()), skiplist=skiplist, unlisted=True))


def _stanford_projection(folder: Path) -> Dense:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    weight = None
    if safe.is_file():
        with safe_open(safe, framework="pt") as file:
            weight = file.get_tensor("linear.weight") if "linear.weight" in file.keys() else None  # noqa: SIM118
    elif pickled.is_file():
        weight = torch.load(pickled, map_location="cpu", weights_only=True).get("linear.weight")
    if weight is None:
        raise CheckpointError(f"{folder}: a ColBERT checkpoint without linear.weight, its projection")
    dense = _projection(weight.shape[1], weight.shape[0])
    dense.load_state_dict({"linear.weight": weight})
    return dense


def _projection(hidden: int, dimension: int) -> Dense:
    return Dense(hidden, dimension, bias=False, activation=nn.Identity(), input_name=TOKENS)
