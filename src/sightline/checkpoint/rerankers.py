"""From a folder to the parts of a reranker: one that was saved, or a new head on another checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sightline.checkpoint import dialects, layout
from sightline.checkpoint.adapters import base_folder, processor_folder
from sightline.checkpoint.backbones import (
    check_complete,
    item_processor,
    keyword_groups,
    load_backbone,
    load_model,
    processor_arguments,
    read_config,
)
from sightline.checkpoint.language_heads import (
    TASKS,
    Head,
    HeadChoice,
    fresh_language_parts,
    language_task,
    saved_language_parts,
)
from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.processors import load_processor
from sightline.checkpoint.read import active, read_part
from sightline.errors import CheckpointError
from sightline.inputs.pairs import carried_modalities, template_failure, template_length
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.calls import Call, CallTable, chat_template
from sightline.modules.heads import ACTIVATIONS, Dense, activation_named
from sightline.modules.language_model import LanguageModel, LogitScore
from sightline.modules.pooling import Pooling
from sightline.modules.sequence_scores import SCORES, TASK, SequenceScores

log = logging.getLogger("sightline")


@dataclass
class RerankerCheckpoint:
    """What a folder holds: parts in order, facts on the whole model, and the activation of its scores."""

    parts: list[Module]
    facts: layout.ModelFacts
    activation: nn.Module


def read_reranker(
    folder: Path,
    options: LoadOptions,
    choice: HeadChoice | None = None,
    *,
    activation: nn.Module | None = None,
) -> RerankerCheckpoint:
    """Reads a reranker of ours or of ST 2 to 6, or puts a head on another checkpoint.

    Args:
        folder: where the checkpoint lies.
        options: arguments for transformers.
        choice: the head of a checkpoint that is no reranker yet.
        activation: in place of the checkpoint's.

    Raises:
        CheckpointError: a file is missing or malformed, the reranker is of a kind that is not known here, or it
            cannot take pairs.
        ConfigError: no such preset.
    """
    choice = choice or HeadChoice()
    facts = layout.ModelFacts()
    place, saved = folder, dict[str, Any]()
    if (folder / layout.MODULES).is_file():
        facts = layout.ModelFacts.from_json(
            layout.read_facts(folder / layout.MODEL), str(folder / layout.MODEL)
        )
        place, saved = _first_part(folder)
    if facts.model_type == layout.RERANKER:
        if choice.head or choice.preset or choice.answers:
            raise CheckpointError(
                f"{folder}: is a reranker already, with a head and a template of its own; leave out head, preset and "
                "answers"
            )
        parts = _saved(folder, place, saved, options, choice)
    else:
        # As in ST: the prompts and settings of another kind of model do not hold for pairs.
        facts = layout.ModelFacts(model_type=layout.RERANKER)
        parts = _fresh(place, saved, options, choice)
    first = parts[0]
    assert isinstance(first, (SequenceScores, LanguageModel, Backbone))
    _check_pairs(folder, first)
    labels = parts[-1].output_dim
    if choice.labels not in (None, labels):
        raise CheckpointError(f"{folder}: gives {labels} scores per pair, not {choice.labels}")
    named = _take_activation(first.model.config)
    return RerankerCheckpoint(
        parts, facts, activation or _activation(facts.activation_fn or named, labels, folder)
    )


def _first_part(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Folder and settings of the transformers model."""
    where = str(folder / layout.MODULES)
    entries = layout.read_modules(folder)
    if not entries:
        raise CheckpointError(f"{where}: lists no module")
    first = entries[0]
    if dialects.kind_of(first.type, where) != "backbone":
        raise CheckpointError(f"{where}: starts with {first.type!r}; a reranker starts with a Transformer")
    place = first.folder(folder)
    saved = next((found for name in layout.BACKBONE_FILES if (found := layout.read_facts(place / name))), {})
    return place, saved


def _saved(
    folder: Path, place: Path, saved: Mapping[str, Any], options: LoadOptions, choice: HeadChoice
) -> list[Module]:
    where = str(folder / layout.MODULES)
    rest = layout.read_modules(folder)[1:]
    for entry in rest:
        dialects.kind_of(entry.type, where)  # refuses code from outside
    # ST 5.3 and before wrote no task; a model alone could only be for sequence classification.
    task = saved.get("transformer_task", "feature-extraction" if rest else TASK)
    if task == TASK and not rest:
        labels = choice.labels
        if not (place / "config.json").is_file():  # an adapter's folder, where we say it ourselves
            labels = labels or layout.read_facts(folder / layout.SIGHTLINE).get("labels")
        return [_classifier(place, options, saved, labels)]
    parts = [] if task == TASK else [read_part(entry, folder, options) for entry in rest]
    if task in TASKS and len(parts) == 1 and isinstance(parts[0], LogitScore):
        return saved_language_parts(place, task, parts[0], saved, options)
    if task == "feature-extraction" and parts and _writes_scores(parts):
        table = dialects.call_table(saved, str(place)) or dialects.TEXT_ONLY
        backbone, _ = load_backbone(place, options, facts=saved, table=table)
        return active([backbone, *parts], folder)
    names = ", ".join(entry.type.rpartition(".")[2] for entry in rest) or "nothing"
    raise CheckpointError(
        f"{folder}: a reranker made for the task {task!r} with {names} on top; known are "
        f"{TASK!r} by itself, 'text-generation' and 'any-to-any' with a LogitScore, and 'feature-extraction' with "
        "parts of which the last is a Dense that writes 'scores'"
    )


def _writes_scores(parts: Sequence[Module]) -> bool:
    last = parts[-1]
    return isinstance(last, Dense) and last.output_name == SCORES


def _fresh(place: Path, saved: Mapping[str, Any], options: LoadOptions, choice: HeadChoice) -> list[Module]:
    if not (base_folder(place, options) / "config.json").is_file():
        raise CheckpointError(f"{place}: no config.json, so there is no transformers model in it")
    saved = {name: saved[name] for name in ("max_seq_length", "do_lower_case") if name in saved}
    config = read_config(place, keyword_groups(saved, options), options)
    task = language_task(config)
    head: Head = choice.head or ("classification" if task is None else "answer")
    if (task is None or head == "classification") and (choice.preset or choice.answers):
        raise CheckpointError(f"{place}: preset and answers are for language models; leave them out")
    if head == "classification":
        return [_classifier(place, options, saved, choice.labels)]
    if task is not None:
        return fresh_language_parts(place, task, choice, saved, options)
    if head == "answer":
        raise CheckpointError(
            f"{place}: {(config.architectures or [config.model_type])[0]} has no language model head to answer with; "
            'take head="classification" or head="pooled"'
        )
    return _pooled(place, saved, options, choice.labels or 1)


def _pooled(place: Path, saved: Mapping[str, Any], options: LoadOptions, labels: int) -> list[Module]:
    backbone, pooling = load_backbone(place, options, facts=saved)
    if pooling is None:
        raise CheckpointError(
            f"{place}: a {backbone.model.config.model_type} model pools by itself, side by side and not a pair"
        )
    dense = Dense(backbone.output_dim, labels, activation=nn.Identity(), output_name=SCORES)
    _warn_of_chance(place)
    return [backbone, Pooling(backbone.output_dim, pooling), dense]


def _warn_of_chance(place: Path) -> None:
    log.warning("%s has no head for scores: they are random until it is trained", place.name)


def _classifier(
    folder: Path, options: LoadOptions, facts: Mapping[str, Any], labels: int | None
) -> SequenceScores:
    kwargs = keyword_groups(facts, options)
    config = read_config(folder, kwargs, options)
    fresh = not any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    if labels is not None or fresh:
        config.num_labels = labels or 1
    kwargs["model_kwargs"]["trust_remote_code"] = options.trust_remote_code
    model, missing = load_model(
        AutoModelForSequenceClassification, folder, config, kwargs["model_kwargs"], options
    )
    if fresh:
        missing = _beside_the_head(model, missing)
    if fresh and (folder / "config.json").is_file():  # an adapter brings its head along
        _warn_of_chance(folder)
    check_complete(folder, missing, "scores")
    arguments = processor_arguments(facts, kwargs)
    tokenizer = load_processor(
        processor_folder(folder, options),
        config.model_type,
        **arguments,
        trust_remote_code=options.trust_remote_code,
    )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise CheckpointError(
            f"{folder}: prepared by a {type(tokenizer).__name__}; a sequence classification head takes texts only"
        )
    table = dialects.call_table(facts, str(folder)) or _text_table(tokenizer, fresh)
    items = item_processor(tokenizer, table, config, facts, arguments)
    _name_padding(model.config, tokenizer)
    return SequenceScores(model, items)


def _text_table(tokenizer: PreTrainedTokenizerBase, fresh: bool) -> CallTable:
    """Pairs go through a chat template where there is one; a new head does without one that is not for pairs."""
    call = Call("forward", "logits")
    if chat_template(tokenizer) is None or fresh:
        return CallTable({"text": call}, SCORES)
    return CallTable({"text": call, "message": call}, SCORES)


def _beside_the_head(model: PreTrainedModel, missing: list[str]) -> list[str]:
    """The missing weights of the body; those of a new head, and of transformers' pooler, are to be trained."""
    inside = f"{model.base_model_prefix}."
    return [name for name in missing if name.startswith(inside) and "pooler" not in name]


def _check_pairs(folder: Path, part: SequenceScores | LanguageModel | Backbone) -> None:
    """Refuses what could not be given a pair."""
    processor = part.processor
    if "message" in processor.calls:
        failure = template_failure(processor)
        if failure is not None:
            raise CheckpointError(
                f"{folder}: its chat template cannot carry a query and a document ({failure}); give one that renders "
                "messages of the roles 'query' and 'document' (processor_kwargs={'chat_template': ...}); where "
                "the model is to read two texts joined by its tokenizer, remove the template"
            )
        length, limit = template_length(processor), processor.max_tokens
        if limit is not None and length >= limit:
            raise CheckpointError(
                f"{folder}: the limit of {limit} tokens leaves no room for a query and a document, as the "
                f"template alone has {length}; raise it (processor_kwargs={{'model_max_length': ...}})"
            )
        carried = carried_modalities(processor)
        # What the template leaves out would be scored as if it were not there.
        processor.calls = {
            key: group for key, group in processor.calls.items() if key == "message" or key in carried
        }
    elif not isinstance(processor.processor, PreTrainedTokenizerBase):
        raise CheckpointError(
            f"{folder}: a {type(processor.processor).__name__} without a chat template cannot put a query and a "
            "document together; give one (processor_kwargs={'chat_template': ...})"
        )


def _name_padding(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Decoders look for the last token that is no padding, and refuse several rows where they do not know it."""
    text = config.get_text_config()
    if text.pad_token_id is None:
        text.pad_token_id = tokenizer.pad_token_id


def _take_activation(config: PretrainedConfig) -> str | None:
    """The activation named in ``config.json`` (ST 4 and 5 under their own key, 2 and 3 under an older one).

    Both keys are taken out, because writing names the activation anew.
    """
    facts = vars(config)
    own = facts.pop("sentence_transformers", None) or {}
    old = facts.pop("sbert_ce_default_activation_function", None)
    named = own.get("activation_fn") if isinstance(own, Mapping) else None
    return named or old


def _activation(name: str | None, labels: int | None, folder: Path) -> nn.Module:
    if name is None:
        return nn.Sigmoid() if labels == 1 else nn.Identity()
    found = activation_named(str(name))
    if found is None:
        raise CheckpointError(
            f"{folder}: unknown activation {name!r}; code named in a checkpoint is never run. Known: "
            + ", ".join(sorted(cls.__name__ for cls in ACTIVATIONS.values()))
            + "; or give one as `activation`"
        )
    return found
