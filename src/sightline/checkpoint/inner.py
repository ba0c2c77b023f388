"""Models of which Sightline loads the inside: an encoder without its decoder, a listener without its voice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from sightline.modules.quirks import Quirk


def is_whole(config: PretrainedConfig, quirk: Quirk) -> bool:
    """Whether a checkpoint holds a whole model of which only a part inside is wanted."""
    if quirk.inside is None or quirk.encoder is None:
        return False
    return config.architectures != [quirk.encoder.rpartition(".")[2]]


def inner_model(
    model: PreTrainedModel, quirk: Quirk, missing: Iterable[str]
) -> tuple[PreTrainedModel, list[str]]:
    """The wanted part of a whole model, and which of the missing weights are its own."""
    assert quirk.inside is not None
    found: Any = model.get_submodule(quirk.inside)
    # So that it is told from a whole model when it has been saved.
    found.config.architectures = [type(found).__name__]
    return found, [name for name in missing if name.startswith(quirk.inside)]


def thinking(config: PretrainedConfig) -> PretrainedConfig:
    """Of a model that hears, sees and speaks, the configuration of the part that does not speak.

    transformers reads that part alone out of a whole checkpoint.
    """
    inner = config.thinker_config if "thinker_config" in config.sub_configs else None
    return inner if isinstance(inner, PretrainedConfig) else config


def draws_no_masks(config: PretrainedConfig, given: Mapping[str, Any]) -> None:
    """Switches SpecAugment off, unless the caller asked for it.

    The masks of transformers' speech models are drawn from NumPy's generator, so a step that embeds its items
    twice would see two different clips; and clips of a few frames are refused for being shorter than a mask.
    """
    if config.to_dict().get("apply_spec_augment") and "apply_spec_augment" not in given:
        config.update({"apply_spec_augment": False})
