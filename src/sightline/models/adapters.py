"""LoRA: small trainable matrices beside the frozen linear layers of a backbone (Hu et al. 2021, arXiv:2106.09685).

The layers are peft's and live inside the transformers model, so the step, the planner and evaluation see the model
they always see. Which layers get one is found by looking at the model: transformers says of each of its towers which
modalities it reads.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

from sightline.checkpoint.adapters import NAME, adapter_of, settle
from sightline.checkpoint.quantized import full_precision
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from peft import PeftConfig

PARTS = ("language", "vision", "audio", "projection")
_READS: Mapping[frozenset[str], str] = {
    frozenset({"text"}): "language",
    frozenset({"image"}): "vision",
    frozenset({"video"}): "vision",
    frozenset({"image", "video"}): "vision",
    frozenset({"audio"}): "audio",
}


@dataclass(frozen=True)
class LoRA:
    """How a LoRA adapter is made.

    Attributes:
        parts: which parts of the backbone get it: ``language``, ``vision``, ``audio``, ``projection`` (what lies
            between towers). Empty: the language model where there is one, else everything.
        r: rank of the matrices.
        alpha: their product is scaled by alpha / r; by default twice the rank.
        dropout: of their input, in training.
        target_modules: names of layers instead of parts, as peft takes them: the ends of names such as ``q_proj``, or
            one regular expression for whole names.

    Raises:
        ConfigError: a value out of its range, an unknown part, or parts and layers at once.
    """

    parts: tuple[str, ...] = ()
    r: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: tuple[str, ...] | str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.parts, str):
            raise ConfigError(f"parts is a list of names, such as ({self.parts!r},)")
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown:
            near = difflib.get_close_matches(unknown[0], PARTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PARTS)}"
            raise ConfigError(f"there is no part {unknown[0]!r} to put an adapter into; {hint}")
        if self.r < 1:
            raise ConfigError(f"r must be at least 1, not {self.r}")
        if self.alpha is not None and self.alpha <= 0:
            raise ConfigError(f"alpha must be above 0, not {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be from 0 to below 1, not {self.dropout}")
        if self.parts and self.target_modules:
            raise ConfigError("give parts or target_modules, not both")


def tower_names(model: PreTrainedModel) -> dict[str, list[str]]:
    """Part -> names of the modules it consists of, ``""`` being the model itself; in `PARTS`' order.

    A part is the outermost model that reads one kind of modality; ``projection`` is what lies outside of them.
    """
    found: dict[str, list[str]] = {}

    def walk(module: nn.Module, name: str) -> None:
        part = _part_of(module)
        if part is None and not any(_part_of(inner) for inner in module.modules()):
            part = "projection"
        if part is not None:
            found.setdefault(part, []).append(name)
            return
        for leaf, child in module.named_children():
            if next(child.parameters(), None) is not None:
                walk(child, f"{name}.{leaf}" if name else leaf)

    walk(model, "")
    return {part: found[part] for part in PARTS if part in found}


def layers_by_part(model: PreTrainedModel) -> dict[str, list[str]]:
    """Part -> names of its linear layers, in the model's order; only parts that have some.

    Left out are output embeddings, heads and poolers, and layers whose weights other code reads directly (torch's own
    multi-head attention), where an adapter would be passed by.
    """
    output = model.get_output_embeddings()
    left_out = heads(model) + [
        name
        for name, module in model.named_modules()
        if module is output
        or isinstance(module, nn.MultiheadAttention)
        or "pooler" in name.rpartition(".")[2]
    ]
    found = {
        part: [
            name
            for tower in towers
            for name, module in model.get_submodule(tower).named_modules(prefix=tower)
            if _is_linear(module) and not any(f"{name}.".startswith(f"{one}.") for one in left_out)
        ]
        for part, towers in tower_names(model).items()
    }
    return {part: names for part, names in found.items() if names}


def heads(model: PreTrainedModel) -> list[str]:
    """Modules that are trained as a whole beside an adapter, and saved with it: a classification head with its pooler.

    A head may be new, so that there is nothing a low-rank change could start from.
    """
    body = model.base_model
    if body is model:
        return []
    output = model.get_output_embeddings()
    outside = [
        name
        for name, child in model.named_children()
        if child is not body and child is not output and any(True for _ in child.parameters())
    ]
    poolers = [
        f"{model.base_model_prefix}.{name}"
        for name, child in body.named_children()
        if "pooler" in name and any(True for _ in child.parameters())
    ]
    return outside + poolers if outside else []


def add_adapter(model: PreTrainedModel, adapter: LoRA | PeftConfig) -> None:
    """Freezes a transformers model and puts an adapter into it; the vectors stay what they were until it is trained.

    Args:
        model: changed in place.
        adapter: which; settings of peft are taken as they are.

    Raises:
        ConfigError: the model has an adapter, lies in no checkpoint, has no such part or no matching layer.
    """
    check_free(model)
    settings = _peft_config(model, adapter) if isinstance(adapter, LoRA) else adapter
    _check_layers(model, settings)
    full_precision(model, vars(settings).get("modules_to_save") or ())
    try:
        model.add_adapter(settings, adapter_name=NAME)
    except ValueError as error:
        raise ConfigError(f"the adapter cannot be put into {type(model).__name__}: {error}") from error
    settle(model)


def add_adapters(
    models: Mapping[str, PreTrainedModel],
    adapter: LoRA | PeftConfig | None = None,
    routes: Sequence[str] | None = None,
) -> None:
    """`add_adapter` to the models of some routes, all of them by default; one that several routes share gets one.

    Args:
        models: by route; under the empty name that of a model without routes.
        adapter: by default `LoRA()`.
        routes: which.

    Raises:
        ConfigError: no such route, or as `add_adapter`.
    """
    unknown = sorted(set(routes or ()) - set(models))
    if unknown:
        known = f"its routes are {', '.join(models)}" if "" not in models else "it has no routes"
        raise ConfigError(f"the model has no route {unknown[0]!r} to put an adapter into; {known}")
    chosen = {id(model): model for name, model in models.items() if routes is None or name in routes}
    for model in chosen.values():
        check_free(model)  # before the first is changed
    for model in chosen.values():
        add_adapter(model, copy.deepcopy(adapter) if adapter is not None else LoRA())


def check_free(model: PreTrainedModel) -> None:
    """Refuses a model that an adapter cannot go into, or that a saved one could not name.

    Raises:
        ConfigError: it has one, it was made in memory, or its folder is gone; says what to do.
    """
    if adapter_of(model) is not None:
        raise ConfigError(
            f"{type(model).__name__} has an adapter already, which is trained as it is; to start another, merge it "
            "first: save_pretrained(folder, merge=True), and load that folder"
        )
    _check_base(model)


def _check_base(model: PreTrainedModel) -> None:
    name = str(model.name_or_path or "")
    is_hub_name = name.count("/") <= 1 and not name.startswith((".", "/", "~"))
    if not name or not (is_hub_name or Path(name).is_dir()):
        raise ConfigError(
            f"an adapter is saved without the model it belongs to, and this {type(model).__name__} lies in no folder"
            f"{f' ({name} is gone)' if name else ''}: save it first with save_pretrained, load it from there, and add "
            "the adapter then"
        )


def _peft_config(model: PreTrainedModel, adapter: LoRA) -> PeftConfig:
    from peft import LoraConfig

    targets: list[str] | str
    if adapter.target_modules is not None:
        given = adapter.target_modules
        targets = given if isinstance(given, str) else list(given)
    else:
        targets = _targets(model, adapter.parts)
    return LoraConfig(
        r=adapter.r,
        lora_alpha=2 * adapter.r if adapter.alpha is None else adapter.alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        target_modules=targets,
        modules_to_save=heads(model) or None,
    )


def _check_layers(model: PreTrainedModel, settings: PeftConfig) -> None:
    """Refuses names of layers that are not there, before peft has begun to change the model."""
    from peft.tuners.tuners_utils import check_target_module_exists

    wanted = vars(settings).get("target_modules")
    if (
        wanted
        and wanted != "all-linear"
        and not any(check_target_module_exists(settings, name) for name, _ in model.named_modules())
    ):
        names = sorted(
            {name.rpartition(".")[2] for names in layers_by_part(model).values() for name in names}
        )
        given = wanted if isinstance(wanted, str) else ", ".join(sorted(wanted))
        raise ConfigError(
            f"{type(model).__name__} has no layer named {given}; its linear layers are named {', '.join(names)}"
        )


def _targets(model: PreTrainedModel, parts: Sequence[str]) -> list[str]:
    layers = layers_by_part(model)
    if not parts:
        parts = ("language",) if "language" in layers else tuple(layers)
    missing = [part for part in parts if part not in layers]
    if missing or not layers:
        has = f"its parts are {', '.join(layers)}" if layers else "it has none"
        wanted = (
            f"{missing[0]} part with linear layers" if missing else "linear layer to put an adapter beside"
        )
        raise ConfigError(f"{type(model).__name__} has no {wanted}; {has}")
    return [name for part in parts for name in layers[part]]


def _part_of(module: nn.Module) -> str | None:
    """The part that a model reading one kind of modality is; None for others."""
    if not isinstance(module, PreTrainedModel):
        return None
    reads = module.input_modalities
    return _READS.get(frozenset({reads} if isinstance(reads, str) else reads))


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    return isinstance(module, (nn.Linear, Conv1D))
