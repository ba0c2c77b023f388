"""Rerankers out of language models: asked for a word, or with a linear layer made of two words' vectors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

from sightline.checkpoint import dialects, presets
from sightline.checkpoint.adapters import processor_folder
from sightline.checkpoint.backbones import (
    check_complete,
    item_processor,
    keyword_groups,
    load_model,
    processor_arguments,
    read_config,
)
from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.processors import load_processor
from sightline.errors import CheckpointError
from sightline.inputs.chat import infer_format
from sightline.inputs.pairs import template_failure
from sightline.inputs.processor import ItemProcessor, part_of
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.calls import (
    Call,
    CallTable,
    Modality,
    chat_template,
    infer_calls,
    processor_modalities,
)
from sightline.modules.heads import Dense
from sightline.modules.language_model import CAUSAL_LOGITS, LanguageModel, LogitScore, find_body
from sightline.modules.pooling import Pooling
from sightline.modules.sequence_scores import SCORES

log = logging.getLogger("sightline")

Head = Literal["classification", "answer", "pooled"]
TASKS: Mapping[str, Any] = {
    "text-generation": AutoModelForCausalLM,
    "any-to-any": AutoModelForMultimodalLM,
}


@dataclass(frozen=True)
class HeadChoice:
    """What a caller wants of the head of a checkpoint that is no reranker yet; None where the checkpoint decides.

    Attributes:
        head: sequence classification, a language model's answer, or pooling and a linear layer.
        labels: scores per pair.
        preset: name in `presets.PRESETS`.
        answers: the words that say that a document fits and that it does not.
    """

    head: Head | None = None
    labels: int | None = None
    preset: str | None = None
    answers: tuple[str, str] | None = None


def language_task(config: PretrainedConfig) -> str | None:
    """ST's task of a checkpoint with a language model head, or None for any other."""
    names = config.architectures or []
    if config.is_encoder_decoder:
        return None
    if MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.get(config.model_type) in names:
        return "any-to-any"
    return "text-generation" if any(name.endswith("ForCausalLM") for name in names) else None


def saved_language_parts(
    folder: Path, task: str, score: LogitScore, facts: Mapping[str, Any], options: LoadOptions
) -> list[Module]:
    """The parts of a reranker that was saved with a language model head.

    Args:
        folder: of the model.
        task: of `TASKS`.
        score: the part behind it.
        facts: content of ``sentence_bert_config.json``.
        options: arguments for transformers.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    kwargs = keyword_groups(facts, options)
    model = _load(folder, task, read_config(folder, kwargs, options), kwargs, options)
    arguments, processor = _processor(folder, model.config, facts, kwargs, options)
    table = dialects.call_table(facts, str(folder)) or _table(["text"])
    items = item_processor(processor, table, model.config, facts, arguments)
    return [LanguageModel(model, items, table, task=task, answers=score.answers), score]


def fresh_language_parts(
    folder: Path,
    task: str,
    choice: HeadChoice,
    facts: Mapping[str, Any],
    options: LoadOptions,
) -> list[Module]:
    """The parts of a reranker on a language model that is none yet.

    Args:
        folder: of the model.
        task: of `TASKS`.
        choice: whether it answers or is pooled, with which template and words.
        facts: settings of the checkpoint that hold on.
        options: arguments for transformers.

    Raises:
        CheckpointError: it cannot be loaded, has no template for pairs, or splits the words into several tokens.
        ConfigError: no such preset.
    """
    kwargs = keyword_groups(facts, options)
    config = read_config(folder, kwargs, options)
    arguments, processor = _processor(folder, config, facts, kwargs, options)
    preset = _settle_template(folder, processor, config.model_type, choice.preset)
    if chat_template(processor) is not None:
        asked = {"chat_template": {"add_generation_prompt": True}}
        facts = {**facts, "processing_kwargs": {**asked, **facts.get("processing_kwargs", {})}}
    words = choice.answers or (("yes", "no") if preset is None else preset.answers)
    tokens = tuple(_token(folder, processor, word) for word in words)
    model = _load(folder, task, config, kwargs, options)
    if choice.head == "pooled":
        return _pooled(folder, model, processor, tokens, facts, arguments)
    names: list[Modality] = [*processor_modalities(processor, carried=True)]
    table = _table([*names, "message"] if chat_template(processor) is not None else names)
    items = item_processor(processor, table, config, facts, arguments)
    return [LanguageModel(model, items, table, task=task, answers=tokens), LogitScore(*tokens)]


def _table(modalities: list[Modality]) -> CallTable:
    return CallTable(dict.fromkeys(modalities, Call("forward", "logits")), CAUSAL_LOGITS)


def _load(
    folder: Path,
    task: str,
    config: PretrainedConfig,
    kwargs: Mapping[str, dict[str, Any]],
    options: LoadOptions,
) -> PreTrainedModel:
    arguments = kwargs["model_kwargs"] | {"trust_remote_code": options.trust_remote_code}
    model, missing = load_model(TASKS[task], folder, config, arguments, options)
    check_complete(folder, missing, "scores")
    return model


def _processor(
    folder: Path,
    config: PretrainedConfig,
    facts: Mapping[str, Any],
    kwargs: Mapping[str, dict[str, Any]],
    options: LoadOptions,
) -> tuple[dict[str, Any], Any]:
    """The arguments the processor was loaded with, and the processor."""
    arguments = processor_arguments(facts, kwargs)
    processor = load_processor(
        processor_folder(folder, options),
        config.model_type,
        **arguments,
        trust_remote_code=options.trust_remote_code,
    )
    # As in ST: rows end in a real token, which the answer follows.
    _tokenizer(processor).padding_side = "left"
    return arguments, processor


def _tokenizer(processor: Any) -> PreTrainedTokenizerBase:
    found = processor if isinstance(processor, PreTrainedTokenizerBase) else part_of(processor, "tokenizer")
    assert isinstance(found, PreTrainedTokenizerBase)
    return found


def _settle_template(folder: Path, processor: Any, kind: str, wanted: str | None) -> presets.Preset | None:
    """Gives the processor the preset's template where one is named, or where its own cannot carry a pair."""
    name, own = wanted, chat_template(processor)
    if name is None:
        if own is None and not isinstance(processor, ProcessorMixin):
            log.warning(
                "%s has no chat template: query and document are joined without marks; name a preset (%s) or give "
                "processor_kwargs={'chat_template': ...}", folder.name, ", ".join(presets.PRESETS),
            )  # fmt: skip
            return None
        failure = _failure(processor, own)
        if failure is None:
            return None
        name = presets.for_model(kind)
        log.warning("%s: %s, so it gets the template of the preset %s", folder.name, failure, name)
    preset = presets.named(name)
    template = preset.template(own)
    processor.chat_template = template
    _tokenizer(processor).chat_template = template
    return preset


def _failure(processor: Any, template: str | None) -> str | None:
    if template is None:
        return "it has no chat template"
    asked = {"chat_template": {"add_generation_prompt": True}}
    probe = ItemProcessor(
        processor=processor, calls={"message": "message"}, message_format=infer_format(template),
        processing_kwargs=asked,
    )  # fmt: skip
    return template_failure(probe)


def _token(folder: Path, processor: Any, word: str) -> int:
    tokenizer = _tokenizer(processor)
    known = tokenizer.convert_tokens_to_ids(word)  # as ST looks for it
    if isinstance(known, int) and known != tokenizer.unk_token_id:
        return known
    found: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(found) == 1 and found[0] != tokenizer.unk_token_id:
        return found[0]
    raise CheckpointError(
        f"{folder}: its tokenizer does not know the word {word!r} as one token, and an answer is one; name other words "
        '(answers=("1", "0"))'
    )


def _pooled(
    folder: Path,
    model: PreTrainedModel,
    processor: Any,
    tokens: tuple[int, ...],
    facts: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> list[Module]:
    """The body, last-token pooling and a linear layer that gives the very log-odds the head would give."""
    body = find_body(model)
    if body is None:
        raise CheckpointError(
            f"{folder}: the head of a {type(model).__name__} is more than a matrix, so no linear layer can stand for "
            'it; take head="answer"'
        )
    table = infer_calls(body, processor)
    items = item_processor(processor, table, body.config, facts, arguments)
    backbone = Backbone(body, items, table)
    dense = Dense(backbone.output_dim, 1, bias=False, activation=nn.Identity(), output_name=SCORES)
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        yes_D, no_D = head.weight[list(tokens)]
        dense.to(head.weight.dtype).linear.weight.copy_((yes_D - no_D).unsqueeze(0))
    return [backbone, Pooling(backbone.output_dim, "lasttoken"), dense]
