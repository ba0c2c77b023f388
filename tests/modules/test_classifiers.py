"""Heads of sequence classification by themselves give what the whole model gives, and so does the packed body."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from sightline.inputs.processor import ItemProcessor
from sightline.modules.classifiers import HEADS, find_head
from sightline.modules.sequence_scores import SCORES, SequenceScores

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 40, "initializer_range": 0.3, "num_labels": 2,
}  # fmt: skip
DISTILBERT = {"vocab_size": 50, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "num_labels": 2}
DECODERS = ("Qwen2", "Qwen3", "Llama", "Mistral")
DECODER = SIZES | {"num_key_value_heads": 1, "head_dim": 8}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("Bert", SIZES),
    *((name, SIZES | {"pad_token_id": 1}) for name in ("Roberta", "XLMRoberta", "Camembert")),
    ("Electra", SIZES | {"embedding_size": 12}),
    ("DistilBert", DISTILBERT | {"max_position_embeddings": 40, "initializer_range": 0.3}),
    *(("ModernBert", SIZES | {"pad_token_id": 0, "classifier_pooling": how, "local_attention": 8,
                              "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3})
      for how in ("cls", "mean")),
    *((name, DECODER | {"pad_token_id": 0}) for name in DECODERS),
]  # fmt: skip


def whole_model(name: str, facts: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**facts)
    return getattr(transformers, f"{name}ForSequenceClassification")(config).eval()


def padded(pad: int, *, left: bool, as_word: bool = False) -> dict[str, torch.Tensor]:
    """Rows of 11, 4 and 1 tokens; with ``as_word`` two hold the padding token as a word of their own."""
    torch.manual_seed(1)
    ids, mask = torch.full((3, 11), pad), torch.zeros(3, 11, dtype=torch.long)
    for row, length in enumerate((11, 4, 1)):
        place = slice(11 - length, 11) if left else slice(0, length)
        ids[row, place] = torch.randint(4, 50, (length,))
        mask[row, place] = 1
    if as_word:
        ids[0, 4] = ids[1, -1 if left else 3] = pad
    return {"input_ids": ids, "attention_mask": mask}


# Models whose heads read the first position are padded on the right only.
SIDES = [
    (name, facts, left) for name, facts in MODELS for left in (False, True) if not left or name in DECODERS
]


@pytest.mark.parametrize(("name", "facts", "left"), SIDES, ids=[f"{name}-{left}" for name, _, left in SIDES])
def test_packed_equals_whole(name: str, facts: dict[str, Any], left: bool) -> None:
    model = whole_model(name, facts)
    arguments = padded(facts.get("pad_token_id", 0), left=left, as_word=True)
    with torch.inference_mode():
        wanted = model(**arguments).logits
        part = SequenceScores(model, ItemProcessor(PreTrainedTokenizerFast, {"text": "text"}))
        packing = part._packing.of(part.model.base_model, arguments)
        found = part(dict(arguments))[SCORES]
    assert packing is not None, "ran with padding, so nothing was tested"
    assert wanted.std() > 1e-2
    assert (found - wanted).abs().max() <= 1e-5


def test_every_head_of_the_table_is_tested() -> None:
    tested = {f"{name}ForSequenceClassification" for name, _ in MODELS}
    assert set(HEADS) <= tested


def test_a_model_without_a_known_head_runs_as_it_is() -> None:
    model = whole_model("DebertaV2", SIZES | {"position_biased_input": False, "pad_token_id": 0})
    assert find_head(model) is None
    arguments = padded(0, left=False)
    part = SequenceScores(model, ItemProcessor(PreTrainedTokenizerFast, {"text": "text"}))
    with torch.inference_mode():
        assert (part(dict(arguments))[SCORES] - model(**arguments).logits).abs().max() <= 1e-5


def test_gradients_equal_those_of_the_whole_model() -> None:
    model = whole_model("Bert", SIZES)
    arguments = padded(0, left=False)
    part = SequenceScores(model, ItemProcessor(PreTrainedTokenizerFast, {"text": "text"}))
    gradients = []
    for run in (lambda: model(**arguments).logits, lambda: part(dict(arguments))[SCORES]):
        model.zero_grad()
        run().square().sum().backward()
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})
    for name, wanted in gradients[0].items():
        assert (gradients[1][name] - wanted).abs().max() <= 1e-5 * max(1.0, wanted.abs().max().item()), name
