"""From a folder to a reranker with a sequence classification head."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
from sightline.checkpoint.backbones import (
    check_complete,
    keyword_groups,
    load_model,
    processor_arguments,
    read_config,
    settle_tokenizer,
)
from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.processors import load_processor
from sightline.errors import CheckpointError
from sightline.inputs.processor import ItemProcessor
from sightline.modules.calls import chat_template
from sightline.modules.heads import ACTIVATIONS, activation_named
from sightline.modules.sequence_scores import TASK, SequenceScores

log = logging.getLogger("sightline")

_ONLY = "rerankers with a sequence classification head are the ones that can be loaded"


@dataclass
class RerankerCheckpoint:
    """What a folder holds: the part that scores, facts on the whole model, and the activation of its scores."""

    scorer: SequenceScores
    facts: layout.ModelFacts
    activation: nn.Module


def read_reranker(
    folder: Path, options: LoadOptions, *, labels: int | None = None, activation: nn.Module | None = None
) -> RerankerCheckpoint:
    """Reads a reranker of ours or of ST 2 to 6, a transformers checkpoint with such a head, or one without.

    Where there is no head (the checkpoint is an embedding model or a bare encoder), one of random weights is put
    on top, to be trained; the log says so.

    Args:
        folder: where the checkpoint lies.
        options: arguments for transformers.
        labels: scores per pair of a new head; by default 1.
        activation: in place of the checkpoint's.

    Raises:
        CheckpointError: a file is missing or malformed, or the reranker is of another kind.
    """
    facts = layout.ModelFacts()
    place, saved = folder, dict[str, Any]()
    if (folder / layout.MODULES).is_file():
        facts = layout.ModelFacts.from_json(
            layout.read_facts(folder / layout.MODEL), str(folder / layout.MODEL)
        )
        place, saved = _first_part(folder, facts)
        if facts.model_type != layout.RERANKER:
            # As in ST: the prompts and settings of another kind of model do not hold for pairs.
            facts = layout.ModelFacts()
    if not (place / "config.json").is_file():
        raise CheckpointError(f"{place}: no config.json, so there is no transformers model in it")
    scorer = _load(place, options, saved, labels)
    named = _take_activation(scorer.model.config)
    facts.model_type = layout.RERANKER
    return RerankerCheckpoint(
        scorer, facts, activation or _activation(facts.activation_fn or named, scorer.labels, folder)
    )


def _first_part(folder: Path, facts: layout.ModelFacts) -> tuple[Path, dict[str, Any]]:
    """Folder and settings of the part to score with; of another kind of model, those of its backbone alone."""
    where = str(folder / layout.MODULES)
    entries = layout.read_modules(folder)
    if not entries:
        raise CheckpointError(f"{where}: lists no module")
    first, *rest = entries
    if dialects.kind_of(first.type, where) != "backbone":
        raise CheckpointError(f"{where}: starts with {first.type!r}; {_ONLY}")
    place = first.folder(folder)
    saved = next((found for name in layout.BACKBONE_FILES if (found := layout.read_facts(place / name))), {})
    if facts.model_type != layout.RERANKER:
        kept = ("max_seq_length", "do_lower_case")
        return place, {name: saved[name] for name in kept if name in saved}
    task = saved.get("transformer_task", TASK)
    if task != TASK or rest:
        parts = ", ".join(entry.type.rpartition(".")[2] for entry in rest)
        raise CheckpointError(
            f"{folder}: a reranker made for the task {task!r}{f' with {parts} on top' if rest else ''}; {_ONLY}"
        )
    return place, saved


def _load(folder: Path, options: LoadOptions, facts: Mapping[str, Any], labels: int | None) -> SequenceScores:
    kwargs = keyword_groups(facts, options)
    config = read_config(folder, kwargs, options)
    architectures = config.architectures or []
    if any(name.endswith("ForCausalLM") for name in architectures):
        raise CheckpointError(
            f"{folder}: {architectures[0]} is a language model, which scores a pair by the words "
            f"it answers with; {_ONLY}"
        )
    fresh = not any(name.endswith("ForSequenceClassification") for name in architectures)
    if labels is not None or fresh:
        config.num_labels = labels or 1
    kwargs["model_kwargs"]["trust_remote_code"] = options.trust_remote_code
    model, missing = load_model(AutoModelForSequenceClassification, folder, config, kwargs["model_kwargs"])
    if fresh:
        missing = _beside_the_head(model, missing)
        log.warning(
            "%s has no sequence classification head: its scores are random until it is trained", folder.name
        )
    check_complete(folder, missing, "scores")
    arguments = processor_arguments(facts, kwargs)
    tokenizer = load_processor(
        folder, config.model_type, **arguments, trust_remote_code=options.trust_remote_code
    )
    _check_pairs_of_text(folder, tokenizer, facts)
    items = ItemProcessor(
        processor=tokenizer, calls={"text": "text"}, processing_kwargs=facts.get("processing_kwargs", {})
    )
    settle_tokenizer(items, config, facts, arguments)
    _name_padding(model.config, tokenizer)
    return SequenceScores(model, items)


def _beside_the_head(model: PreTrainedModel, missing: list[str]) -> list[str]:
    """The missing weights of the body; those of a new head, and of transformers' pooler, are to be trained."""
    inside = f"{model.base_model_prefix}."
    return [name for name in missing if name.startswith(inside) and "pooler" not in name]


def _check_pairs_of_text(folder: Path, processor: Any, facts: Mapping[str, Any]) -> None:
    if not isinstance(processor, PreTrainedTokenizerBase):
        raise CheckpointError(
            f"{folder}: prepared by a {type(processor).__name__}; rerankers of pairs of texts are the ones that can "
            "be loaded"
        )
    calls = facts.get("modality_config")
    if chat_template(processor) is not None if calls is None else "message" in calls:
        raise CheckpointError(
            f"{folder}: puts its pairs into a chat template; {_ONLY} whose tokenizer joins the two texts by itself "
            "(where the template is not meant for pairs, remove it: chat_template.jinja, or chat_template in "
            "tokenizer_config.json)"
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


def _activation(name: str | None, labels: int, folder: Path) -> nn.Module:
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
