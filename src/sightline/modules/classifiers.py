"""The heads of transformers' sequence classification models, by themselves.

transformers runs body and head in one forward. Here the head is applied to hidden states that came from
elsewhere, which lets the body run without padding.

Shape letters: n pairs, L longest of them, D hidden size, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu
from transformers import PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

# (model, hidden states (n, L, D), ids (n, L), mask (n, L)) -> logits (n, C)
Head = Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def find_head(model: PreTrainedModel) -> Head | None:
    """The head of a model for sequence classification, or None where it is not known here."""
    if not type(model).__module__.startswith("transformers.models."):
        return None
    if isinstance(model, GenericForSequenceClassification):
        return _last_token
    return HEADS.get(type(model).__name__)


def _pooler(model: Any, hidden_nLD: Tensor, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
    """BERT: the pooler of the first token, then a linear layer."""
    pooled: Tensor = model.classifier(model.dropout(model.base_model.pooler(hidden_nLD)))
    return pooled


def _first_token(model: Any, hidden_nLD: Tensor, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
    """RoBERTa, ELECTRA: a classifier that looks at the first token by itself."""
    scores_nC: Tensor = model.classifier(hidden_nLD)
    return scores_nC


def _distilbert(model: Any, hidden_nLD: Tensor, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
    scores_nC: Tensor = model.classifier(model.dropout(relu(model.pre_classifier(hidden_nLD[:, 0]))))
    return scores_nC


def _modernbert(model: Any, hidden_nLD: Tensor, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
    """ModernBERT: the first token, or the mean over tokens."""
    if model.config.classifier_pooling == "mean":
        weights_nL1 = mask_nL.unsqueeze(-1).to(hidden_nLD.dtype)
        pooled_nD = (hidden_nLD * weights_nL1).sum(1) / weights_nL1.sum(1)
    else:
        pooled_nD = hidden_nLD[:, 0]
    scores_nC: Tensor = model.classifier(model.drop(model.head(pooled_nD)))
    return scores_nC


def _last_token(model: Any, hidden_nLD: Tensor, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
    """Decoders: the last token that is no padding token, be it the pair's own or put there to fill the row."""
    pad = model.config.get_text_config().pad_token_id
    counted_nL = mask_nL.bool() if pad is None else ids_nL != pad
    steps_L = torch.arange(ids_nL.shape[1], device=ids_nL.device)
    last_n = (steps_L * counted_nL).argmax(-1)
    scores_nC: Tensor = model.score(hidden_nLD[torch.arange(len(last_n), device=ids_nL.device), last_n])
    return scores_nC


# By class; those that are not here run as they are, with padding.
HEADS: Mapping[str, Head] = {
    "BertForSequenceClassification": _pooler,
    "RobertaForSequenceClassification": _first_token,
    "XLMRobertaForSequenceClassification": _first_token,
    "CamembertForSequenceClassification": _first_token,
    "ElectraForSequenceClassification": _first_token,
    "DistilBertForSequenceClassification": _distilbert,
    "ModernBertForSequenceClassification": _modernbert,
}
