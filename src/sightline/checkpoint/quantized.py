"""Models whose weights are held in 4 or 8 bits (bitsandbytes, through transformers), under an adapter.

Dettmers et al. 2023 (QLoRA, arXiv:2305.14314): the frozen weights are numbers of few bits with a scale per block, and
every product multiplies by what they stand for. Those values can be written out again, so nothing has to be rounded
when an adapter is worked into them: the merged model is the one that was trained, in full precision.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from sightline.errors import CheckpointError, ConfigError

# The argument of transformers' `from_pretrained`, and the name of the same in a model's configuration.
SETTINGS = "quantization_config"
_LIBRARY = "bitsandbytes"
# Wherever it is installed it says, as soon as peft looks for it, that it found no kernels on the Hub; and in 8 bits at
# every product that it rounds the other factor.
logging.getLogger(_LIBRARY).setLevel(logging.ERROR)


def is_quantized(model: PreTrainedModel) -> bool:
    """Whether its weights are held in 4 or 8 bits."""
    return vars(model.config).get(SETTINGS) is not None


def quantized_models(model: nn.Module) -> list[PreTrainedModel]:
    """The transformers models in a model whose weights are held in few bits; each outermost one once."""
    found: list[PreTrainedModel] = []
    for module in model.modules():
        inside = any(module is one for outer in found for one in outer.modules())
        if isinstance(module, PreTrainedModel) and is_quantized(module) and not inside:
            found.append(module)
    return found


def quantized_weights(model: nn.Module) -> set[str]:
    """Names of the weights that are held in few bits and not trained; no checkpoint of the model has them so."""
    found = set()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    for prefix, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and is_quantized(module):
            found |= {f"{prefix}.{name}" if prefix else name for name in module.state_dict()}
    return found - trained


def placement(
    model_kwargs: Mapping[str, Any], config: PretrainedConfig, device: torch.device | None
) -> dict[str, Any]:
    """Where the weights of a model that is loaded in few bits go; told before anything is read.

    Without a word transformers puts such a model onto the first GPU, also one that is wanted on the CPU, where a run
    that goes on reads its checkpoint: beside the model that is trained there may be no room for a second.

    Args:
        model_kwargs: the arguments of `from_pretrained`.
        config: the model's; a checkpoint may be in few bits itself.
        device: where it is wanted; None leaves it to transformers.

    Returns:
        Further arguments of `from_pretrained`; none for a model in full precision, which is read on the CPU.

    Raises:
        ConfigError: bitsandbytes is missing.
    """
    settings = model_kwargs.get(SETTINGS) or vars(config).get(SETTINGS)
    if settings is None:
        return {}
    facts = settings if isinstance(settings, dict) else settings.to_dict()
    if not (facts.get("load_in_4bit") or facts.get("load_in_8bit")):
        return {}  # another method, which brings its own errors
    bits = "4" if facts.get("load_in_4bit") else "8"
    if importlib.util.find_spec(_LIBRARY) is None:
        raise ConfigError(
            f"loading a model in {bits} bits needs bitsandbytes, which is not installed: pip install "
            "'sightline[qlora]'; or load it in full precision, with quantization_config left out (None, where an "
            "adapter's folder asks for it)"
        )
    return {} if device is None or "device_map" in model_kwargs else {"device_map": {"": str(device)}}


def settle_quantized(model: PreTrainedModel) -> None:
    """Has a CPU compute alike in training and in evaluation; does nothing to a model of full precision.

    On processors with AVX512-BF16 bitsandbytes packs the weights of a layer anew as soon as it is evaluated, with
    scales in bfloat16. From then on the layer passes no gradient on, in training neither.
    """
    for _, layer in _layers(model):
        vars(layer)["support_avx512bf16_for_cpu"] = False


def saved_settings(model: PreTrainedModel, heads: Iterable[str]) -> dict[str, Any]:
    """What a checkpoint without the weights says, so that they are loaded as they were; empty for others.

    Of a model whose own checkpoint is in few bits, that checkpoint says it.

    Args:
        model: of transformers, with an adapter.
        heads: layers that are trained as a whole, which therefore are in full precision.

    Returns:
        JSON facts for ``model_args`` of the backbone's file, which ST passes on to `from_pretrained` as we do.
    """
    if not is_quantized(model) or vars(model)["hf_quantizer"].pre_quantized:
        return {}
    settings = vars(model.config)[SETTINGS]
    facts: dict[str, Any] = settings.to_dict()
    if "load_in_4bit" in facts:  # bitsandbytes', which names the layers that are left as they are
        whole = {*vars(model)["hf_quantizer"].modules_to_not_convert, *heads}
        facts = {name: value for name, value in facts.items() if not name.startswith("_")}
        facts["llm_int8_skip_modules"] = sorted(whole)
    return {SETTINGS: facts | {"quant_method": str(settings.quant_method.value)}}


def full_precision(model: PreTrainedModel, layers: Iterable[str]) -> None:
    """Writes the weights of some modules out, so that they can be trained.

    Args:
        model: changed in place; one of full precision stays as it is.
        layers: names of the modules or ends of names, as peft takes them; all that is inside of them.
    """
    ends = tuple(f".{name}" for name in layers)
    starts = tuple(f"{name}." for name, _ in model.named_modules() if f".{name}".endswith(ends))
    for name, layer in list(_layers(model)):
        if f"{name}.".startswith(starts):
            model.set_submodule(name, _linear(layer, model.dtype))


def dequantize(model: PreTrainedModel) -> None:
    """Writes all weights out, in the type of the model's others; its adapter is one of an ordinary model afterwards.

    Args:
        model: changed in place.

    Raises:
        CheckpointError: its weights are held in a way that transformers cannot write out, or peft cannot move.
    """
    from peft import get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
    from peft.functional import cast_adapter_dtype

    adapters: dict[str, Any] = dict(vars(model).get("peft_config") or {})
    held = {
        name: {
            key: value.clone() for key, value in get_peft_model_state_dict(model, adapter_name=name).items()
        }
        for name in adapters
    }
    _take_off_adapters(model)
    try:
        model.dequantize(dtype=model.dtype)
    except (NotImplementedError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {type(model).__name__} are in few bits, and transformers cannot write them out in full: "
            f"{error}; save the adapter, load it with quantization_config=None and merge that"
        ) from error
    vars(model).pop("peft_config", None)
    for name, settings in adapters.items():
        inject_adapter_in_model(copy.deepcopy(settings), model, adapter_name=name)
        cast_adapter_dtype(model, name)  # else it is rounded to the type of the layers before it is merged
        set_peft_model_state_dict(model, held[name], adapter_name=name)


def computes_in_full(model: nn.Module) -> bool:
    """Whether products with weights of few bits are those with the written out weights, but for float32's rounding.

    In 8 bits the other factor is rounded to 8 bits as well; in 4 bits products may be computed in half precision.
    """
    layers = [layer for one in quantized_models(model) for _, layer in _layers(one)]
    return all(vars(layer).get("compute_dtype") == torch.float32 for layer in layers)


def _layers(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of the linear layers that bitsandbytes holds."""
    if not is_quantized(model) or importlib.util.find_spec(_LIBRARY) is None:
        return
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for name, module in model.named_modules():
        if isinstance(module, Linear4bit | Linear8bitLt):
            yield name, module


def _linear(layer: nn.Module, dtype: torch.dtype) -> nn.Linear:
    """The ordinary layer that one in few bits stands for."""
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    assert isinstance(layer, nn.Linear)
    found = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    held = layer.weight
    assert isinstance(held, nn.Parameter)
    weight = dequantize_bnb_weight(held, vars(layer).get("state"))
    found.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    if layer.bias is not None:
        found.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
    return found.train(layer.training)


def _take_off_adapters(model: PreTrainedModel) -> None:
    """Puts the layers that peft has wrapped back in their places; trained heads stay, in place of the first ones."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            model.set_submodule(name, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):
            plain = module.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
            model.set_submodule(name, plain)
