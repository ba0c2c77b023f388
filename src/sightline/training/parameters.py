"""Which weights a name means, for learning rates of their own and for freezing.

A name is a route of a composed model (``image``), a part of a backbone (``language``, ``vision``, ``audio``,
``projection``; see `models.adapters.LoRA`), or the beginning of weights' names (``parts.2``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from sightline.errors import ConfigError
from sightline.models.adapters import tower_names
from sightline.modules.router import Router


def weights_named(model: nn.Module, name: str, *, where: str) -> list[str]:
    """Full names of the weights that a name means.

    Args:
        model: the model, not wrapped.
        name: route, part, or beginning of weights' names.
        where: the argument it stands in, for messages.

    Raises:
        ConfigError: it means none; says which names there are.
    """
    weights = dict(model.named_parameters())
    groups = _groups(model)
    if name in groups:
        ids = {id(weight) for module in groups[name] for weight in module.parameters()}
        found = [full for full, weight in weights.items() if id(weight) in ids]
    else:
        found = [full for full in weights if full == name or full.startswith(f"{name}.")]
    if not found:
        known = [*groups, *dict.fromkeys(".".join(full.split(".")[:2]) for full in weights)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? Known" if near else "known"
        raise ConfigError(
            f"{where} names {name!r}, which is no route and no part of the model, and begins no weight's name; "
            f"{hint}: {', '.join(known)}"
        )
    return found


def weights_matching(model: nn.Module, pattern: str, *, where: str) -> list[str]:
    """Full names of the weights in whose names a regular expression is found, in our spelling or ST's.

    Raises:
        ConfigError: it is no regular expression, or is found in none.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{where}: {pattern!r} is no regular expression: {error}") from error
    names = [name for name, _ in model.named_parameters()]
    # ST counts its modules as ``model.0`` where we have ``parts.0``.
    found = [
        name
        for name in names
        if expression.search(name) or expression.search(re.sub(r"^parts\.", "model.", name))
    ]
    if not found:
        raise ConfigError(
            f"{where}: {pattern!r} is found in no weight's name; the first are {', '.join(names[:3])}"
        )
    return found


def rates_of(
    model: nn.Module, rates: Mapping[str, float] | None, patterns: Mapping[str, float] | None
) -> dict[str, float]:
    """Weight's full name -> learning rate of its own; where several entries mean a weight, the last one holds.

    Args:
        model: the model, not wrapped.
        rates: by name, see `weights_named`.
        patterns: by regular expression; after the names.

    Raises:
        ConfigError: a name or pattern that means nothing.
    """
    found: dict[str, float] = {}
    for name, rate in (rates or {}).items():
        found |= dict.fromkeys(weights_named(model, name, where="learning_rates"), rate)
    for pattern, rate in (patterns or {}).items():
        found |= dict.fromkeys(weights_matching(model, pattern, where="learning_rate_mapping"), rate)
    return found


@contextmanager
def frozen(model: nn.Module, names: Collection[str] | None) -> Iterator[None]:
    """Inside, the weights that the names mean are not trained; afterwards they are as they were.

    Raises:
        ConfigError: a name that means nothing, or nothing is left to train.
    """
    chosen = {full for name in names or () for full in weights_named(model, name, where="freeze")}
    before = {name for name, weight in model.named_parameters() if weight.requires_grad}
    if not before - chosen:
        told = f"freeze={list(names or ())} leaves" if before else "the model has"
        raise ConfigError(f"{told} no weight to train")
    try:
        _train_only(model, before - chosen, among=before & chosen)
        yield
    finally:
        # By name: sharding replaces the weights themselves.
        _train_only(model, before, among=before & chosen)


def regroup(optimizer: Optimizer, model: nn.Module, rates: Mapping[str, float]) -> None:
    """Moves weights into parameter groups of their own learning rates; everything else about them stays.

    Args:
        optimizer: fresh, without state.
        model: whose weights it has, not wrapped.
        rates: by weight's full name.
    """
    by_id = {id(weight): rates[name] for name, weight in model.named_parameters() if name in rates}
    for group in list(optimizer.param_groups):
        moved: dict[float, list[nn.Parameter]] = {}
        for weight in group["params"]:
            if id(weight) in by_id:
                moved.setdefault(by_id[id(weight)], []).append(weight)
        group["params"] = [weight for weight in group["params"] if id(weight) not in by_id]
        options = {key: value for key, value in group.items() if key not in ("params", "lr")}
        for rate, weights in sorted(moved.items()):
            optimizer.add_param_group(options | {"params": weights, "lr": rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def _groups(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The names that a model gives to several of its modules together: its routes, and its backbones' parts."""
    found: dict[str, list[nn.Module]] = {}
    for backbone in _backbones(model):
        for part, names in tower_names(backbone).items():
            found.setdefault(part, []).extend(backbone.get_submodule(name) for name in names)
    for module in model.modules():
        if isinstance(module, Router):
            # A route that is named like a part means the route.
            found |= {name: list(parts) for name, parts in module.routes().items()}
    return found


def _backbones(module: nn.Module) -> Iterator[PreTrainedModel]:
    """The transformers models in a model, without those that are parts of another."""
    if isinstance(module, PreTrainedModel):
        yield module
        return
    for child in module.children():
        yield from _backbones(child)


def _train_only(model: nn.Module, names: Collection[str], *, among: Collection[str]) -> None:
    for name, weight in model.named_parameters():
        if name in among:
            weight.requires_grad_(name in names)
