"""The transformers model of a reranker with a sequence classification head: pairs in, scores out."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from sightline.inputs.collate import SEQUENCE_FILL, PaddingSide
from sightline.inputs.processor import ItemProcessor
from sightline.modules.backbone import padding_side, transformer_facts
from sightline.modules.base import Module
from sightline.modules.calls import Call, CallTable
from sightline.modules.classifiers import find_head
from sightline.modules.cpu import cpu_operators
from sightline.modules.flash import fitting_attention
from sightline.modules.packing import TextPacking

SCORES = "scores"
TASK = "sequence-classification"


class SequenceScores(Module):
    """Runs a transformers model for sequence classification and writes its logits, ``scores`` (N, labels).

    Where body and head are known apart, the body runs without padding (see `packing`).

    Args:
        model: any model of ``AutoModelForSequenceClassification``.
        processor: its tokenizer, with the arguments the checkpoint carries.
    """

    kind: ClassVar[str] = "sequence_scores"

    def __init__(self, model: PreTrainedModel, processor: ItemProcessor) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        parameters = inspect.signature(model.forward).parameters
        open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        # A tokenizer may give more than the model takes, such as segment ids.
        self._arguments = frozenset(SEQUENCE_FILL) if open_ended else frozenset(parameters)
        self._head = find_head(model)
        self._packing = TextPacking(_hidden)

    @property
    def labels(self) -> int:
        """Scores per pair."""
        labels = self.model.config.num_labels
        assert labels is not None
        return labels

    @property
    def output_dim(self) -> int:
        return self.labels

    @property
    def padding_side(self) -> PaddingSide:
        """The side a row is padded on, as of `Backbone`."""
        return padding_side(self.model, self.processor.tokenizer)

    def facts(self) -> dict[str, Any]:
        """ST's ``sentence_bert_config.json``, as ST 6 writes it for a CrossEncoder."""
        calls = dict.fromkeys(self.processor.calls, Call("forward", "logits"))
        return transformer_facts(TASK, CallTable(calls, SCORES), self.processor)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        arguments = {
            name: value
            for name, value in features.items()
            if name in SEQUENCE_FILL and name in self._arguments
        }
        with cpu_operators(self.model), fitting_attention(self.model):
            body = self._body
            packing = None if body is None else self._packing.of(body, arguments)
            if packing is None:
                features[SCORES] = self.model(**arguments, return_dict=True).logits
            else:
                assert body is not None
                assert self._head is not None
                hidden_nLD = packing.call(body, arguments, _hidden)
                features[SCORES] = self._head(
                    self.model, hidden_nLD, arguments["input_ids"], arguments["attention_mask"]
                )
        return features

    @property
    def packs_text(self) -> bool:
        """Whether pairs run without padding on the device the model is on; the first call tries it."""
        return self._body is not None and self._packing.possible(self._body)

    @property
    def _body(self) -> PreTrainedModel | None:
        """The model without its head, where the two are known apart."""
        body = self.model.base_model
        return body if self._head is not None and isinstance(body, PreTrainedModel) else None


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output.last_hidden_state
    return hidden
