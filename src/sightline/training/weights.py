"""Where the weights of a model trained by several ranks lie, and how their gradients meet.

Replicated (the default, "DDP"): every rank holds all weights and steps its own copy of the optimizer; the copies
stay equal because the gradients are summed over the ranks before each step. The sum is of the ranks' parts of one
whole loss (see `sightline.training.gathering`), so nothing is divided by the number of ranks.

Sharded (FSDP2, `torch.distributed.fsdp.fully_shard`): between steps every rank holds a part of each weight, and of
the optimizer's values for it, which for AdamW are two thirds of what replicated weights take. At the first batch of
an optimizer step the weights are gathered once, on all ranks in the same order; they stay whole until the step's
gradients have been reduced to the parts. FSDP2 itself would gather every layer in every forward and backward pass,
twice as often where micro-batches are embedded a second time, and would wait forever as soon as one rank runs a
pass, or a tower, that another does not. So within a step each device has room for the whole weights and gradients;
the optimizer's values stay sharded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sightline.checkpoint.quantized import quantized_weights
from sightline.models.probes import encoder_probes, reranker_probes
from sightline.models.reranker import Reranker
from sightline.models.verify import Answers, answers_of
from sightline.training.distributed import Ranks

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


class Replicated(nn.Module):
    """Marks a model whose weights every rank holds, all equal to rank 0's when it is made.

    Takes the place of `DistributedDataParallel` in transformers' Trainer: it passes calls on and has no hooks.
    """

    def __init__(self, module: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.module = module
        equal_weights(module, ranks)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def equal_weights(model: nn.Module, ranks: Ranks) -> None:
    """Gives every rank the weights and buffers of rank 0: a new layer's random start differs between them.

    Raises:
        LostRankError: a rank does not answer.
    """
    ranks.copy_from_main(model.state_dict(keep_vars=True).values())


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 holds the weights in parts."""
    return bool(_shards(model))


def prepare_sharding(model: nn.Module, plugin: Any, ranks: Ranks) -> None:
    """Equal weights on all ranks, and accelerate's plugin told which layers to gather by themselves.

    Does nothing to a model that is sharded already.

    Args:
        model: the model to be sharded.
        plugin: accelerate's ``FullyShardedDataParallelPlugin``; layers that it names stay as they are.
        ranks: all of them call it.
    """
    if not is_sharded(model):
        equal_weights(model, ranks)
        plugin.transformer_cls_names_to_wrap = plugin.transformer_cls_names_to_wrap or layer_names(model)


def layer_names(model: nn.Module) -> list[str]:
    """Classes of the layers that transformers' models in ``model`` are made of, which FSDP2 gathers one at a time."""
    from transformers import PreTrainedModel

    named = {
        name
        for module in model.modules()
        if isinstance(module, PreTrainedModel)
        for name in module._no_split_modules or ()
    }
    return sorted(named & {type(module).__name__ for module in model.modules()})


def whole_weights(model: nn.Module) -> None:
    """Gathers sharded weights on every rank, until `add_gradients` or `part_weights`; else does nothing.

    A collective for a sharded model: all ranks call it.
    """
    for module in _shards(model):
        module.set_requires_gradient_sync(False, recurse=False)
        module.set_reshard_after_forward(False, recurse=False)
        module.set_reshard_after_backward(False, recurse=False)
        module.set_is_last_backward(False)
        module.unshard()


def part_weights(model: nn.Module) -> None:
    """Gives the memory of gathered weights back; does nothing to a model that is not sharded."""
    for module in _shards(model):
        module.reshard()


@contextmanager
def with_whole_weights(model: nn.Module) -> Iterator[None]:
    """Every rank has all weights, so that each may run the model as often as it likes."""
    whole_weights(model)
    try:
        yield
    finally:
        part_weights(model)


def add_gradients(model: nn.Module, ranks: Ranks) -> None:
    """Sums the gradients of all ranks: into each replicated weight, or each rank's part of a sharded one.

    A weight that no rank used keeps gradient None, as in one process, where the optimizer passes over it; one
    that some rank used counts as zero on the others.

    Raises:
        PeerError: another rank failed before.
        LostRankError: a rank does not answer.
    """
    if ranks.size == 1 and not is_sharded(model):
        return
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    used = [weight.grad is not None for weight in weights.values()]
    somewhere = [any(on) for on in zip(*ranks.exchange(used, "adding gradients"), strict=True)]
    with ranks.together("making room for gradients"):
        gradients = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for (name, weight), is_used in zip(weights.items(), somewhere, strict=True)
            if is_used
        }
    if not is_sharded(model):
        ranks.add(list(gradients.values()))
        for name, gradient in gradients.items():
            weights[name].grad = gradient
        return
    for weight in weights.values():
        weight.grad = None
    del weights
    part_weights(model)
    parts = dict(model.named_parameters())
    for name in list(gradients):
        parts[name].grad = _reduced(gradients.pop(name), parts[name], ranks)


def whole_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers by name, on the CPU; of a sharded model on rank 0 only, empty on the others.

    A collective for a sharded model: all ranks call it.
    """
    if not is_sharded(model):
        return model.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    part_weights(model)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(model, options=options))  # type: ignore[arg-type]


def load_whole_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts weights by name into the model in place, into each rank's part where it is sharded.

    Args:
        state: all weights, on every rank.
    """
    if not is_sharded(model):
        resting = quantized_weights(model)  # beside an adapter, which alone is in a checkpoint
        kept = {name: value for name, value in state.items() if name not in resting}
        model.load_state_dict(kept, strict=not resting)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    part_weights(model)
    set_model_state_dict(model, dict(state), options=StateDictOptions(full_state_dict=True))


def _shards(model: nn.Module) -> list[FSDPModule]:
    """The modules that FSDP2 holds in parts; none where there is but one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return []
    from torch.distributed.fsdp import FSDPModule  # takes a second to import

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _reduced(gradient: Tensor, part: Tensor, ranks: Ranks) -> Tensor:
    """The sum of all ranks' gradients, as the part lies."""
    from torch.distributed.tensor import DTensor, Partial

    if not isinstance(part, DTensor):
        ranks.add([gradient])
        return gradient
    mesh = part.device_mesh
    whole = DTensor.from_local(gradient, mesh, [Partial("sum")] * mesh.ndim, run_check=False)
    return whole.redistribute(placements=part.placements)


@contextmanager
def only_with_state(model: nn.Module, optimizer_file: Path, ranks: Ranks) -> Iterator[bool]:
    """Weights without values in a saved optimizer, because nothing ever used them, count as frozen meanwhile.

    torch refuses to load a sharded optimizer that has no values for a weight that is trained. Does nothing to a
    model that is not sharded, or where the optimizer is not in one file.

    Returns:
        whether the optimizer can be loaded: torch refuses one that is sharded and keeps no values at all, as plain SGD.
    """
    if not is_sharded(model) or not ranks.from_main(optimizer_file.exists):
        yield True
        return
    known = ranks.from_main(lambda: set(torch.load(optimizer_file, weights_only=True, mmap=True)["state"]))
    unused = [w for name, w in model.named_parameters() if w.requires_grad and name not in known]
    try:
        for weight in unused:
            weight.requires_grad_(False)
        yield bool(known)
    finally:
        for weight in unused:
            weight.requires_grad_(True)


def save_from_main(
    model: Any, folder: str | Path, ranks: Ranks, *, verify: bool = True, **options: Any
) -> None:
    """``model.save_pretrained(folder, **options)`` on rank 0, of whole weights; the others wait for it.

    A sharded model answers what is compared (see `sightline.models.verify`) before, with all ranks' weights.

    Raises:
        PeerError: rank 0 could not write (there: its own error).
        LostRankError: a rank does not answer.
    """
    compared = witness(model, ranks) if verify else False
    state = whole_state_dict(model)

    def save() -> None:
        with plain_weights(model, state):
            model.save_pretrained(folder, verify=compared, **options)

    ranks.from_main(save, "saving the model")


def witness(model: Any, ranks: Ranks) -> Answers | bool:
    """What to compare a saved model with, as ``verify`` of ``save_pretrained``.

    A collective for a sharded model: all ranks call it. They gather its weights once, and rank 0 asks it.

    Returns:
        a sharded model's answers on rank 0; True for any other, which is asked when it is saved.

    Raises:
        PeerError: rank 0 could not ask (there: its own error).
        LostRankError: a rank does not answer.
    """
    if not is_sharded(model):
        return True

    def ask() -> Answers:
        probes = reranker_probes(model) if isinstance(model, Reranker) else encoder_probes(model)
        return answers_of(model, probes)

    with with_whole_weights(model), ranks.together("asking the model what its copy is to answer"):
        return ask() if ranks.is_main else True


@contextmanager
def plain_weights(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """A sharded model's modules hold ``state`` as plain weights, so that code that writes them can; no forward.

    Does nothing to a model that is not sharded. Not a collective.
    """
    if not is_sharded(model):
        yield
        return
    parts = list(model.named_parameters(remove_duplicate=False))
    try:
        for name, part in parts:
            _put(model, name, nn.Parameter(state[name], requires_grad=part.requires_grad))
        yield
    finally:
        for name, part in parts:
            _put(model, name, part)


def _put(model: nn.Module, name: str, weight: nn.Parameter) -> None:
    module, _, leaf = name.rpartition(".")
    model.get_submodule(module).register_parameter(leaf, weight)
