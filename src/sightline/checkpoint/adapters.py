"""Adapters (LoRA and what else peft knows) in checkpoints: the model they belong to, their weights, merging.

An adapter lives inside a transformers model. It is saved as peft and Sentence Transformers save it: the folder has
``adapter_config.json`` and ``adapter_model.safetensors`` in place of ``config.json`` and the weights, and names the
model it belongs to by its folder or its name on the Hub.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from sightline.checkpoint import hub, layout
from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.quantized import (
    dequantize,
    full_precision,
    is_quantized,
    quantized_models,
    saved_settings,
)
from sightline.errors import CheckpointError
from sightline.inputs.processor import ItemProcessor
from sightline.modules.base import Module

if TYPE_CHECKING:
    from peft import PeftConfig

CONFIG = "adapter_config.json"
# The only adapter of a model, under the name that peft gives it.
NAME = "default"
WEIGHTS = "adapter_model.safetensors"
# How a model's weights are named in its file: transformers writes it in the spelling that it last read, which with an
# adapter is the adapter's.
_SPELLING = "_weight_conversions"
_HALF = (torch.float16, torch.bfloat16)
_PROCESSORS = ("tokenizer*", "*processor_config.json", "vocab.*", "*.model")


def base_folder(folder: Path, options: LoadOptions) -> Path:
    """Where the transformers weights of a checkpoint lie: ``folder`` itself, or the model its adapter belongs to.

    Raises:
        CheckpointError: that model is nowhere to be found.
    """
    if (folder / "config.json").is_file() or not (folder / CONFIG).is_file():
        return folder
    facts = layout.read_facts(folder / CONFIG)
    name = facts.get("base_model_name_or_path")
    if not name:
        raise CheckpointError(
            f"{folder / CONFIG}: does not say which model the adapter belongs to; put its folder or its name on the "
            "Hub there as base_model_name_or_path"
        )
    try:
        return hub.resolve(name, revision=facts.get("revision"), **options.hub)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: holds an adapter of {name}, which cannot be loaded ({error}); if that model has moved, put "
            f"its place into {CONFIG} as base_model_name_or_path"
        ) from error


def processor_folder(folder: Path, options: LoadOptions) -> Path:
    """Where the processor lies: beside the adapter if it was saved there, else with the model it belongs to."""
    beside = any(next(folder.glob(name), None) for name in _PROCESSORS)
    return folder if beside else base_folder(folder, options)


def load_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Puts the adapter in ``folder`` into the model, to be trained on; its other weights are frozen.

    Raises:
        CheckpointError: the adapter cannot be read, or is another model's.
    """
    from safetensors import SafetensorError

    full_precision(model, layout.read_facts(folder / CONFIG).get("modules_to_save") or ())
    names = vars(model).get(_SPELLING)
    try:
        found = model.load_adapter(str(folder), adapter_name=NAME, is_trainable=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the adapter cannot be loaded: {error}") from error
    vars(model)[_SPELLING] = names
    wrong = sorted({*found.missing_keys, *found.unexpected_keys})
    if wrong:
        raise CheckpointError(
            f"{folder}: the adapter does not fit the model ({len(wrong)} weights, {wrong[0]} first); is "
            f"base_model_name_or_path in {CONFIG} another model's?"
        )
    settle(model)
    if (model.dtype in _HALF or is_quantized(model)) and (folder / WEIGHTS).is_file():
        _restore_bits(model, folder / WEIGHTS)


def settle(model: PreTrainedModel) -> None:
    """What holds after an adapter was put in: it trains and evaluates with the model, and learns in float32.

    In bfloat16 the small steps of training would be rounded away; peft's own models do the same.
    """
    from peft.functional import cast_adapter_dtype

    cast_adapter_dtype(model, NAME)
    model.train(model.training)  # peft makes its layers in training mode, dropout and all


def _restore_bits(model: PreTrainedModel, file: Path) -> None:
    """Weights of an adapter as saved: transformers rounds them to the type that the layers around them compute in."""
    from safetensors.torch import load_file

    saved = {name.removeprefix("base_model.model."): value for name, value in load_file(file).items()}
    layers = {name: weight for name, weight in model.named_parameters() if f".{NAME}" in name}
    with torch.no_grad():
        for name, weight in layers.items():
            value = saved.get(name.replace(f".{NAME}.", ".").removesuffix(f".{NAME}"))
            if value is not None:
                weight.copy_(value)


def adapter_of(model: nn.Module) -> PeftConfig | None:
    """Settings of the adapter in a transformers model, or None without one."""
    found: dict[str, Any] = vars(model).get("peft_config") or {}
    return next(iter(found.values()), None)


def loading_of(model: PreTrainedModel) -> dict[str, Any]:
    """What a checkpoint with an adapter says of how the model is to be loaded that it belongs to; empty without one."""
    adapter = adapter_of(model)
    return {} if adapter is None else saved_settings(model, vars(adapter).get("modules_to_save") or ())


def merged(parts: Iterable[nn.Module]) -> list[Module]:
    """The parts with every adapter worked into the weights; the ones given stay as they are.

    Weights that no adapter touches are shared, not copied. Those held in few bits are written out in full: rounded to
    few bits once more, the sum with the adapter would be another model.

    Raises:
        CheckpointError: the model's weights are in few bits and cannot be written out.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    own = [part for part in parts if isinstance(part, Module)]
    modules = [module for part in own for module in part.modules()]
    adapted = [one for one in modules if isinstance(one, (BaseTunerLayer, AuxiliaryTrainingWrapper))]
    touched = {id(weight) for one in adapted for weight in one.parameters()}
    kept: list[Any] = [
        weight for module in modules for weight in module.parameters() if id(weight) not in touched
    ]
    kept += [
        value for module in modules for value in vars(module).values() if isinstance(value, ItemProcessor)
    ]
    copies = copy.deepcopy(own, {id(one): one for one in kept})
    for part in copies:
        for model in quantized_models(part):
            dequantize(model)
        for name, module in list(part.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.merge(safe_merge=True)
                _replace(part, name, module.get_base_layer())
            elif isinstance(module, AuxiliaryTrainingWrapper):
                _replace(
                    part,
                    name,
                    module.unload_and_optionally_merge_module(
                        merge=True, safe_merge=True, adapter_names=None
                    ),
                )
        for module in part.modules():
            if isinstance(module, PreTrainedModel) and adapter_of(module) is not None:
                module.delete_adapter(list(module.peft_config))
    return copies


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)
