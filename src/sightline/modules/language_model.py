"""A language model that is asked whether a document fits a query, and the score made of its answer.

A generator would compute logits for every word of the vocabulary at every position: (n, L, V). Only those of the
answer's one or two words after the last token are wanted, so the body runs by itself (texts without padding), and
of the head's matrix two rows are used.

Shape letters: n pairs, L longest of them, D hidden size, V vocabulary, K words of the answer (1 or 2).
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PretrainedConfig, PreTrainedModel

from sightline.inputs.collate import PaddingSide
from sightline.inputs.processor import ItemProcessor
from sightline.modules.backbone import Backbone, hidden_size, padding_side, transformer_facts
from sightline.modules.base import Module
from sightline.modules.calls import Call, CallTable
from sightline.modules.flash import attention_as, runs_flash
from sightline.modules.packing import TOLERANCE
from sightline.modules.pooling import Pooling
from sightline.modules.sequence_scores import SCORES
from sightline.modules.trying import FAILURES, failure, trying

logger = logging.getLogger(__name__)

ANSWERS = "answer_logits"
CAUSAL_LOGITS = "causal_logits"  # ST's name of what a language model writes

# Settings of transformers models that do more to the logits than the head's matrix.
_SCALED = (
    "final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier",
)  # fmt: skip


class LanguageModel(Module):
    """Writes the logits ``answer_logits`` (n, K) of the answer's words at the position after the last token.

    Args:
        model: a transformers model with a language model head.
        processor: what prepares pairs for it.
        table: which modalities it takes; its calls give ``logits``.
        task: ST's transformer_task, ``text-generation`` or ``any-to-any``.
        answers: token ids of the words.
    """

    kind: ClassVar[str] = "language_model"

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ItemProcessor,
        table: CallTable,
        *,
        task: str,
        answers: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.table = table
        self.task = task
        self.answers = answers
        body = find_body(model)
        self._split = body is not None
        calls = CallTable(dict.fromkeys(table.calls, Call())) if body is not None else table
        # In a tuple, so that the weights are named once, as the model's.
        self._runs = (Backbone(body or model, processor, calls),)
        self._last = Pooling(hidden_size(model.config), "lasttoken")

    @property
    def padding_side(self) -> PaddingSide:
        """The side a row is padded on; a model that is run whole is asked for its last position."""
        return padding_side(self.model, self.processor.tokenizer) if self._split else "left"

    @property
    def packs_text(self) -> bool:
        """Whether pairs of texts run without padding on the device the model is on; the first call tries it."""
        return self._split and self._runs[0].packs_text

    def facts(self) -> dict[str, Any]:
        """ST's ``sentence_bert_config.json``."""
        return transformer_facts(self.task, self.table, self.processor)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        (run,) = self._runs
        if self._split:
            features = self._last(run(features))
            features[ANSWERS] = self._answers(features["sentence_embedding"])
        else:
            # As a tensor, like all that a model is called with; it stands for the last position.
            last = torch.tensor([-1], device=self.model.device)
            logits_nLV = run(features | {"logits_to_keep": last})[self.table.writes]
            features[ANSWERS] = logits_nLV[:, -1, list(self.answers)]
        return features

    def _answers(self, last_nD: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        if type(head) is not nn.Linear:
            # One with an adapter or of few bits, which has no rows to take out.
            logits_nV: Tensor = head(last_nD)
            return logits_nV[:, list(self.answers)]
        rows_KD = head.weight[list(self.answers)]
        bias_K = None if head.bias is None else head.bias[list(self.answers)]
        # Two words' logits lie close together: in half precision their difference would lose most of its digits.
        wide = torch.promote_types(last_nD.dtype, torch.float32)
        with torch.autocast(last_nD.device.type, enabled=False):
            return linear(last_nD.to(wide), rows_KD.to(wide), None if bias_K is None else bias_K.to(wide))


class LogitScore(Module):
    """Writes ``scores`` (n, 1): the log-odds of a yes and a no token, or the logit of a yes token alone.

    With a sigmoid the log-odds are the probability of yes among the two words (Nogueira et al. 2020,
    arXiv:2003.06713).

    Args:
        true_token_id: the token that says that the document fits.
        false_token_id: the one that says it does not.
    """

    kind: ClassVar[str] = "logit_score"

    def __init__(self, true_token_id: int, false_token_id: int | None = None) -> None:
        super().__init__()
        self.true_token_id = true_token_id
        self.false_token_id = false_token_id

    @property
    def answers(self) -> tuple[int, ...]:
        """What a `LanguageModel` in front of it is asked for."""
        return tuple(one for one in (self.true_token_id, self.false_token_id) if one is not None)

    @property
    def output_dim(self) -> int:
        return 1

    def facts(self) -> dict[str, Any]:
        return {
            "true_token_id": self.true_token_id,
            "false_token_id": self.false_token_id,
            "module_input_name": CAUSAL_LOGITS,
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        logits_nK: Tensor = features[ANSWERS]
        scores_n = logits_nK[:, 0] if self.false_token_id is None else logits_nK[:, 0] - logits_nK[:, 1]
        features[SCORES] = scores_n.unsqueeze(1)
        return features


def find_body(model: PreTrainedModel) -> PreTrainedModel | None:
    """The model without its head, where the head is a matrix and nothing else; found by trying.

    Returns:
        None where the logits are scaled or capped, or where body and head cannot be told apart.
    """
    body, head = model.base_model, model.get_output_embeddings()
    if body is model or not isinstance(body, PreTrainedModel) or type(head) is not nn.Linear:
        return None
    text = model.config.get_text_config()
    if any(_scales(config, name) for config in (model.config, text) for name in _SCALED):
        return None
    half = int(text.vocab_size) // 2  # far from the special tokens, which lie at the ends
    ids_1L = torch.arange(half, min(half + 5, int(text.vocab_size)), device=model.device).unsqueeze(0)
    arguments = {"input_ids": ids_1L, "attention_mask": torch.ones_like(ids_1L)}
    # What the head does does not hang on the attention; a flash kernel cannot run where the model is loaded, on a CPU.
    plain = attention_as(model, "eager") if runs_flash(model) else nullcontext()
    try:
        with trying(model), plain:
            whole_LV = model(**arguments, return_dict=True).logits[0]
            parts_LV = head(body(**arguments, return_dict=True).last_hidden_state)[0]
    except FAILURES as error:
        logger.info("%s runs with all of its head: %s", type(model).__name__, failure(error))
        return None
    limit = TOLERANCE.get(whole_LV.dtype, 1e-4) * float(whole_LV.abs().max())
    same = whole_LV.shape == parts_LV.shape and bool((whole_LV - parts_LV).abs().max() <= limit)
    return body if same else None


def _scales(config: PretrainedConfig, name: str) -> bool:
    return config.to_dict().get(name) not in (None, 1, 1.0)
