"""The check that a saved model is the one in memory: what was written is read again and asked the same.

A head that is not written, an adapter that is left out, a prompt or a limit that is forgotten: none of it shows
until the model is used. The copy is read onto the device of the model, in its number type, and both answer the
probes of `probes`. For a moment there are two copies in memory. Where the device has no room for the second, it
goes to the CPU, and products that are computed otherwise there are allowed more; where the machine has none either,
a warning says that nothing was checked.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as bars

from sightline.checkpoint.layout import ModelFacts
from sightline.checkpoint.quantized import computes_in_full, quantized_models
from sightline.errors import CheckpointError
from sightline.models.free_memory import free_bytes
from sightline.models.probes import Probe, encoder_probes, reranker_probes
from sightline.modules import attention
from sightline.modules.modes import evaluating

log = logging.getLogger("sightline")

# Largest difference, relative to the length of a probe's vectors, by the model's number type: what the same product
# computed twice may differ by where memory lies otherwise (parity with Sentence Transformers is held to the same),
# and what two devices may.
SAME_DEVICE = {torch.float64: 1e-5, torch.float32: 1e-5}
OTHER_DEVICE = {torch.float64: 1e-5, torch.float32: 2e-3}
SAME_DEVICE_HALF, OTHER_DEVICE_HALF = 1e-2, 6e-2
# Scores are log-odds: one near zero is a difference of larger numbers and carries their rounding, not its own.
LEAST_SCORE = 0.1
# Beside the weights of the copy, its passes over a few small inputs need this.
WORKING = 512 * 2**20


@dataclass(frozen=True)
class Answers:
    """What a model said to its probes, for where it cannot be asked when it is saved: see `answers_of`.

    Attributes:
        values: by the probe's name.
        device, dtype: of the weights it answered with.
    """

    values: Mapping[str, Mapping[str, Tensor]]
    device: torch.device
    dtype: torch.dtype


def answers_of(model: Any, probes: Sequence[Probe]) -> Answers:
    """What a model says to `probes.encoder_probes` or `probes.reranker_probes`; it is left as it was.

    Raises:
        CheckpointError: it answers none that would show whether it was saved well.
    """
    with _unnoticed(model):
        return Answers(_answers(model, probes), model.device, model.dtype)


def check_encoder(
    encoder: Any, facts: ModelFacts, folder: Path, *, merged: bool = False, answers: Answers | None = None
) -> None:
    """Reads an encoder from where it was saved, and compares vectors and settings.

    Args:
        encoder: the one in memory; it is left as it was.
        facts: what the saved one is to say of itself.
        folder: where it was saved.
        merged: whether an adapter was worked into the weights, which rounds them once more.
        answers: what it said before; by default it is asked now.

    Raises:
        CheckpointError: the copy cannot be read, or is another model; says where they differ.
    """
    settings = {
        "prompts": dict(facts.prompts),
        "default_prompt_name": facts.default_prompt_name,
        "similarity_fn_name": facts.similarity_fn_name,
        "truncate_dim": facts.truncate_dim,
        "modalities": encoder.modalities,
        "embedding_dim": encoder.embedding_dim,
    }
    _check_copy(encoder, folder, encoder_probes(encoder), settings, merged=merged, given=answers)


def check_reranker(
    reranker: Any, facts: ModelFacts, folder: Path, *, merged: bool = False, answers: Answers | None = None
) -> None:
    """Reads a reranker from where it was saved, and compares scores and settings; as `check_encoder`."""
    settings = {
        "prompts": dict(facts.prompts),
        "default_prompt_name": facts.default_prompt_name,
        "num_labels": reranker.num_labels,
    }
    _check_copy(reranker, folder, reranker_probes(reranker), settings, merged=merged, given=answers)


def _check_copy(
    model: Any,
    folder: Path,
    probes: Sequence[Probe],
    settings: Mapping[str, Any],
    *,
    merged: bool,
    given: Answers | None,
) -> None:
    home = model.device if given is None else given.device
    place = _place(model, home, folder, merged=merged)
    if place is None:
        log.warning(
            "%s was saved without being checked: a second copy of the model needs %.1f GB, more than is free",
            folder.name, _needed(model, folder) / 1e9,
        )  # fmt: skip
        return
    try:
        answers = answers_of(model, probes) if given is None else given
        allowed = _allowed(model, answers, place, merged=merged)
        _compare(model, folder, place, probes, settings, answers, allowed)
    except (torch.OutOfMemoryError, MemoryError):
        log.warning("%s was saved without being checked: there was no memory for a second copy", folder.name)


def _compare(
    model: Any,
    folder: Path,
    place: torch.device,
    probes: Sequence[Probe],
    settings: Mapping[str, Any],
    answers: Answers,
    allowed: float,
) -> None:
    with _unnoticed(model):
        copy = _read(model, folder, place, answers.dtype)
        for name, value in settings.items():
            if (found := getattr(copy, name)) != value:
                raise CheckpointError(f"read again, its {name} is {found!r} instead of {value!r}")
        for probe in probes:
            if probe.name not in answers.values:
                continue
            try:
                answer = probe.ask(copy)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception as error:
                raise CheckpointError(f"read again, it fails on {probe.name}: {error}") from error
            _check(probe, answers.values[probe.name], answer, allowed)


def _answers(model: Any, probes: Sequence[Probe]) -> dict[str, Mapping[str, Tensor]]:
    answers, reason = {}, ""
    for probe in probes:
        try:
            answers[probe.name] = probe.ask(model)
        except (torch.OutOfMemoryError, MemoryError):
            raise  # nothing is said of the model: it is saved unchecked
        # A router may know a modality in one role only, and models fail in their own ways on inputs they were not
        # made for. After hours of training no such thing may keep a model from being saved.
        except Exception as error:
            reason = f"{probe.name}: {error}"
            log.debug("not asked when checking the saved model: %s", reason)
    if not any(not probe.exact and probe.name in answers for probe in probes):
        raise CheckpointError(
            f"the model answers none of the questions that would show whether it was saved well ({reason})"
        )
    return answers


def _read(model: Any, folder: Path, place: torch.device, dtype: torch.dtype) -> Any:
    try:
        copy = type(model).from_pretrained(
            folder,
            device=place,
            dtype=dtype,
            model_kwargs=_attention(model, place),
            # Code that came with the model has been run already.
            trust_remote_code=any(
                type(part).__module__.startswith("transformers_modules") for part in model.modules()
            ),
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise CheckpointError(f"it cannot be read again: {error}") from error
    return copy.eval()


def _check(probe: Probe, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], allowed: float) -> None:
    for name, value in wanted.items():
        other = found.get(name)
        if other is None or other.shape != value.shape:
            shape = "missing" if other is None else f"of shape {tuple(other.shape)}"
            raise CheckpointError(
                f"read again, it gives for {probe.name} {name} {shape} instead of {tuple(value.shape)}"
            )
        if probe.exact:
            if not torch.equal(value.cpu(), other.cpu()):
                raise CheckpointError(f"read again, it prepares {probe.name} otherwise ({name})")
        elif not (drift := _drift(value, other, least=LEAST_SCORE if name == "scores" else 0.0)) <= allowed:
            raise CheckpointError(
                f"read again, its {name} for {probe.name} differ by {drift:.2g} of their length; at most {allowed:g} "
                "is allowed"
            )


def _drift(wanted: Tensor, found: Tensor, *, least: float = 0.0) -> float:
    """Length of the difference over the length of what was wanted; infinite where other values are not finite.

    Args:
        wanted, found: to be compared.
        least: a length counts as at least that of so large components.
    """
    first, second = wanted.double().cpu(), found.double().cpu()
    whole = first.isfinite()
    if not torch.equal(whole, second.isfinite()):
        return math.inf
    first, second = first[whole], second[whole]
    length = first.norm().clamp_min(max(1e-12, least * math.sqrt(first.numel())))
    return float((first - second).norm() / length)


def _allowed(model: Any, answers: Answers, place: torch.device, *, merged: bool) -> float:
    if merged and not computes_in_full(model):
        return OTHER_DEVICE_HALF
    # In half precision an adapter's small share of a sum is rounded away when it is merged, layer by layer.
    if place == answers.device and not (merged and answers.dtype not in SAME_DEVICE):
        return SAME_DEVICE.get(answers.dtype, SAME_DEVICE_HALF)
    return OTHER_DEVICE.get(answers.dtype, OTHER_DEVICE_HALF)


def _attention(model: nn.Module, place: torch.device) -> dict[str, str]:
    """The attention the model runs with, for the copy to run with the same."""
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    names = {part.config._attn_implementation for part in parts}
    if len(names) != 1 or (name := names.pop()) is None:
        return {}
    if name == attention.NAME or (place.type == "cpu" and name.startswith("flash")):
        name = "sdpa"  # which takes ours by itself on a CPU
    return {"attn_implementation": name}


def _needed(model: nn.Module, folder: Path) -> int:
    held = sum(value.numel() * value.element_size() for value in model.parameters())
    # Weights of few bits are written out in full when an adapter is merged.
    written = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return WORKING + max(held, written)


def _place(model: Any, home: torch.device, folder: Path, *, merged: bool) -> torch.device | None:
    """Where a second copy of a model that runs on ``home`` has room."""
    # Weights in few bits stay where they can be so.
    here_only = not merged and quantized_models(model)
    places = (home,) if here_only else (home, torch.device("cpu"))
    for place in dict.fromkeys(places):
        if free_bytes(place) >= _needed(model, folder):
            return place
    return None


@contextmanager
def _unnoticed(model: nn.Module) -> Iterator[None]:
    """The model, the random numbers of torch and the progress bars of transformers are afterwards as they were."""
    devices = sorted({value.device.index for value in model.parameters() if value.is_cuda})
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        with evaluating(model), torch.random.fork_rng(devices=devices):
            yield
    finally:
        if shown:
            bars.enable_progress_bar()
