"""From the parts of a model to a folder that Sightline and Sentence Transformers load."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerFast

from sightline import __version__
from sightline.checkpoint import dialects, layout
from sightline.checkpoint.adapters import adapter_of, loading_of
from sightline.errors import CheckpointError
from sightline.files import write_json
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.heads import ACTIVATIONS, Dense, LayerNorm
from sightline.modules.language_model import LanguageModel
from sightline.modules.layer_pooling import WeightedLayerPooling
from sightline.modules.router import Router
from sightline.modules.sequence_scores import SequenceScores

# Parts that hold a transformers model with its processor.
Models = Backbone | SequenceScores | LanguageModel


def write_checkpoint(
    folder: Path,
    parts: Sequence[Module],
    facts: layout.ModelFacts,
    *,
    own: Mapping[str, Any] | None = None,
    card: str | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Writes a checkpoint beside ``folder`` and moves it there, so that a killed process leaves no half of one.

    Args:
        folder: where it goes; a checkpoint that lies there is replaced, anything else refused.
        parts: in order, the backbone or router first.
        facts: prompts, similarity, truncation.
        own: facts of ours, for ``sightline.json``; ST ignores the file.
        card: text of README.md.
        check: given what was written before it takes its place; what it refuses is put beside, under
            ``<folder>.refused``, and the folder stays as it was.

    Raises:
        CheckpointError: ``folder`` holds something that is no checkpoint, or ``check`` raised it.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not _is_checkpoint(folder)):
        raise CheckpointError(f"{folder}: exists and holds no model; choose another folder")
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    layout.finish_replacement(folder)
    old, aside = layout.replacement_paths(folder)
    _move_the_rest(old, folder)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    _write_parts(aside, parts)
    facts.versions = _versions(facts.model_type)
    write_json(aside / layout.MODEL, facts.to_json())
    if facts.activation_fn and isinstance(parts[0], SequenceScores) and (aside / "config.json").is_file():
        _name_activation(aside / "config.json", facts.activation_fn)
    fusion = next(
        (dict(part.table.fusion) for part in parts if isinstance(part, Router) and part.table.fusion), None
    )
    write_json(
        aside / layout.SIGHTLINE,
        {"format": 1, "sightline": __version__} | ({"fusion": fusion} if fusion else {}) | dict(own or {}),
    )
    if card:
        (aside / "README.md").write_text(card, encoding="utf-8")
    if check is not None:
        try:
            check(aside)
        except CheckpointError as error:
            refused = folder.with_name(f"{folder.name}.refused")
            shutil.rmtree(refused, ignore_errors=True)
            os.replace(aside, refused)
            raise CheckpointError(
                f"{folder}: not saved, because what was written is not the model in memory: {error}. It was put into "
                f"{refused}; verify=False (--no-verify) saves without this check"
            ) from error
    _replace(aside, folder, old)


def _replace(aside: Path, folder: Path, old: Path) -> None:
    """Puts ``aside`` in the place of ``folder``; what lay in the folder besides the model (a trainer's state) stays."""
    if folder.is_dir():
        os.replace(folder, old)
    os.replace(aside, folder)
    _move_the_rest(old, folder)


def _move_the_rest(old: Path, folder: Path) -> None:
    """Moves what belongs to no model from ``old`` into ``folder`` and deletes ``old``.

    After a kill the next write does it, so nothing of a person's is lost. The old model's files go: a tokenizer
    or an image processor left over would be taken for the new model's.
    """
    if not old.is_dir():
        return
    if folder.is_dir():
        try:
            parts = layout.part_folders(old)
        except CheckpointError:  # the old model was broken; that is no reason to keep the new one out
            parts = set()
        for item in old.iterdir():
            of_model = item.name in parts or any(item.match(pattern) for pattern in MODEL_FILES)
            if not of_model and not (folder / item.name).exists():
                shutil.move(str(item), folder / item.name)
    shutil.rmtree(old, ignore_errors=True)


# What a model leaves in a folder, by name: weights, settings, tokenizers and processors.
MODEL_FILES = (
    "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.json", "adapter_*.bin",
    "config.json", "adapter_config.json", "generation_config.json", "*processor_config.json", "tokenizer*.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "chat_template.*",
    "sentence_*_config.json", "router_config.json", "modules.json", "config_sentence_transformers.json",
    "sightline.json",
)  # fmt: skip
_TRAINER_FILES = frozenset({"trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt"})


def _is_checkpoint(folder: Path) -> bool:
    names = {item.name for item in folder.iterdir()}
    return bool(names & ({layout.MODULES, layout.SIGHTLINE, "config.json"} | _TRAINER_FILES))


def _write_parts(folder: Path, parts: Sequence[Module]) -> None:
    entries = []
    for idx, part in enumerate(parts):
        # As ST does: the first part lies in the root.
        in_root = idx == 0 and isinstance(part, Models | Router)
        path = "" if in_root else f"{idx}_{dialects.FOLDER_NAMES[part.kind]}"
        write_part(part, folder / path if path else folder)
        entries.append({"idx": idx, "name": str(idx), "path": path, "type": spelling(part)})
    write_json(folder / layout.MODULES, entries)


def spelling(part: Module) -> str:
    """The class path written for a part: the oldest that every reader of its content knows."""
    if isinstance(part, Backbone) and not _as_of_st2(part):
        return dialects.MULTIMODAL_BACKBONE
    return dialects.SPELLINGS[part.kind]


def write_part(part: Module, folder: Path) -> None:
    """Writes one part's settings and weights into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(part, Models):
        _write_backbone(part, folder)
    elif isinstance(part, Router):
        _write_router(part, folder)
    else:
        facts = part.facts()
        if part.kind == "pooling":
            facts = dialects.legacy_pooling_facts(facts)
        write_json(folder / "config.json", facts)
        if isinstance(part, Dense):
            activation_path(part.activation)
        if isinstance(part, (Dense, LayerNorm, WeightedLayerPooling)):
            _write_weights(part, folder)


def activation_path(activation: nn.Module) -> str:
    """The class path an activation is written as.

    Raises:
        CheckpointError: the activation is more than its class, which is all the format holds.
    """
    path = f"{type(activation).__module__}.{type(activation).__name__}"
    known = ACTIVATIONS.get(path)
    if known is None or repr(known()) != repr(activation):
        raise CheckpointError(
            f"the checkpoint format cannot express the activation {activation!r}; known, each without arguments: "
            + ", ".join(sorted(cls.__name__ for cls in ACTIVATIONS.values()))
        )
    return path


def _name_activation(path: Path, activation: str) -> None:
    """Names a reranker's activation where ST 2 to 5 look for it: they know no other file than transformers'."""
    facts = layout.read_facts(path)
    facts |= {
        "sentence_transformers": {"activation_fn": activation},
        "sbert_ce_default_activation_function": activation,
    }
    write_json(path, facts)


def _write_weights(part: Module, folder: Path) -> None:
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous() for name, value in part.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _as_of_st2(part: Backbone) -> bool:
    return (
        dialects.is_text_only(part.table)
        and part.task == "feature-extraction"
        and not part.texts.facts()
        and not part.processor.processing_kwargs
    )


def _write_backbone(part: Models, folder: Path) -> None:
    part.model.save_pretrained(folder)
    tokenizer = part.processor.tokenizer
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        # The files say what the model is, not which text was last cut.
        tokenizer.backend_tokenizer.no_truncation()
    part.processor.processor.save_pretrained(folder)
    if isinstance(part, Backbone) and _as_of_st2(part):
        facts: dict[str, Any] = {
            "max_seq_length": part.processor.max_tokens,
            "do_lower_case": part.processor.lower_case,
        }
    else:
        facts = part.facts()
    if loading := loading_of(part.model):
        facts["model_args"] = loading  # as every ST since 3 reads it
    if isinstance(part, Backbone) and part.keeps_layers and adapter_of(part.model) is not None:
        # The configuration is not written beside an adapter, and that of the model it belongs to does not say it.
        facts["config_args"] = {"output_hidden_states": True}
    write_json(folder / layout.BACKBONE_FILES[0], facts)


def _write_router(part: Router, folder: Path) -> None:
    names: dict[int, str] = {}
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {}
    for route, parts in part.routes().items():
        for number, one in enumerate(parts):
            if id(one) not in names:
                # A part shared by several routes is written once.
                names[id(one)] = f"{route}_{number}_{dialects.FOLDER_NAMES[one.kind]}"
                types[names[id(one)]] = spelling(one)
                write_part(one, folder / names[id(one)])
            structure.setdefault(route, []).append(names[id(one)])
    write_json(folder / layout.ROUTER, {"types": types, "structure": structure, "parameters": part.facts()})


def _versions(model_type: str) -> dict[str, str]:
    import torch
    import transformers

    # ST reads its own version from here and warns about newer ones; the oldest that reads
    # what we write is 6.0.0 for multi-vector models and 5.4.0 for others.
    return {
        "sentence_transformers": "6.0.0" if model_type == layout.MULTI_VECTOR else "5.4.0",
        "sightline": __version__,
        "transformers": transformers.__version__,
        "pytorch": torch.__version__,
    }
