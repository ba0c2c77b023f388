"""Inputs of a graph, made as the files beside it are meant to be used: by transformers' own classes and a few facts.

Nothing of Sightline takes part, so that what is checked with these inputs is what another program will get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sightline.errors import ConfigError
from sightline.export.towers import ELSEWHERE, Tower
from sightline.inputs.pixels import PIXELS
from sightline.inputs.processor import part_of

if TYPE_CHECKING:
    from PIL.Image import Image

# Settings that a checkpoint may save for its texts and a tokenizer takes.
_TEXT_SETTINGS = ("max_length", "add_special_tokens", "pad_to_multiple_of")


@dataclass(frozen=True)
class TextRules:
    """How texts are given to the tokenizer.

    Attributes:
        padding: ``True`` (to the longest of a batch) or ``"max_length"``.
        padding_side: ``left`` or ``right``.
        settings: further arguments of the tokenizer's call.
        lower_case: texts are lower-cased first.
        max_tokens: where longer ones are cut, or None.
    """

    padding: bool | str
    padding_side: str
    settings: dict[str, Any]
    lower_case: bool
    max_tokens: int | None


def text_rules(tower: Tower) -> TextRules:
    """The rules of a text tower."""
    processor = tower.backbone.processor
    saved = processor.processing_kwargs.get("text", {})
    full = saved.get("padding") == "max_length"
    return TextRules(
        padding="max_length" if full else True,
        padding_side=tower.backbone.padding_side,
        settings={name: saved[name] for name in _TEXT_SETTINGS if saved.get(name) is not None},
        lower_case=bool(processor.lower_case),
        max_tokens=processor.max_tokens,
    )


def tokens_of(tower: Tower, rules: TextRules, texts: Sequence[str]) -> dict[str, Tensor]:
    """Inputs of a text tower: ``input_ids`` (N, T) and what else it takes of what the tokenizer gives."""
    tokenizer: Any = tower.backbone.processor.tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    found = tokenizer(
        [text.lower() for text in texts] if rules.lower_case else list(texts),
        padding=rules.padding,
        padding_side=rules.padding_side,
        truncation=rules.max_tokens is not None,
        return_tensors="pt",
        **rules.settings,
    )
    return tower.backbone.accepted(tower.call.method, dict(found))


def pixels_of(tower: Tower, images: Sequence[Image]) -> dict[str, Tensor]:
    """Inputs of an image tower: ``pixel_values`` (N, 3, height, width).

    Raises:
        ConfigError: the model takes more than that of an image.
    """
    whole = tower.backbone.processor.processor
    processor: Any = part_of(whole, "image_processor") or whole
    # Not padded or stacked by us: where images come out in several shapes, no one graph takes them.
    found = dict(processor(images=list(images), return_tensors="pt"))
    taken = tower.backbone.accepted(tower.call.method, found)
    pixels = taken.get(PIXELS)
    if set(taken) != {PIXELS} or not isinstance(pixels, Tensor) or pixels.ndim != 4:
        kind = tower.backbone.model.config.model_type
        raise ConfigError(
            f"{kind} takes each image at a size and a number of patches of its own, which one fixed graph does not "
            f"hold. {ELSEWHERE}"
        )
    return {PIXELS: pixels.to(torch.float32)}
