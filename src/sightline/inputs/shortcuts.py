"""Shorter ways to the features a model's processor gives, used only where they are proved to give the same.

A transformers processor looks up and merges its settings on every call, spells out hundreds of placeholder tokens
per image only to tokenize them again, and makes floats of pixels that are stored as bytes. The shortcuts do the
same without that. For each model that is loaded, pictures and messages go both ways; unless every tensor is
equal, the processor's way stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import ImageProcessingMixin, ProcessorMixin

from sightline.errors import SightlineError
from sightline.inputs.chat import SIDES, ChatTokens
from sightline.inputs.processor import ItemProcessor, part_of
from sightline.inputs.resize import DirectImages, PatchedImages, direct_images
from sightline.types import Features, Item, Part

_SIZES = ((70, 90), (130, 60), (33, 31), (300, 220), (64, 64))  # (height, width) in pixels
_LONG = "A page with a table of costs, 1,204.50 in 2019; naïve, 中文 and  two spaces\nand a line. "
# Arguments of text that a shortcut observes itself, or that are the collator's.
_KNOWN = frozenset({"truncation", "max_length", "padding", "return_tensors"})


def take_shortcuts(items: ItemProcessor) -> None:
    """Gives ``items`` the shortcuts that are proved for its processor."""
    plain = replace(items, images=None, chat_tokens=None)
    images = _images(items)
    if images is None:
        return
    if "message" not in items.calls:
        if _same(plain, replace(plain, images=images)):
            items.images = images
        return
    chat = _chat(items, images)
    if chat is not None and _same(plain, replace(plain, images=images, chat_tokens=chat)):
        items.images, items.chat_tokens = images, chat


def _images(items: ItemProcessor) -> DirectImages | None:
    processor: Any = items.processor
    if isinstance(processor, ProcessorMixin):
        processor = part_of(processor, "image_processor")
    # Finished floats are wanted where the normalisation cannot be put off.
    if not isinstance(processor, ImageProcessingMixin) or items.normalization is None:
        return None
    return direct_images(processor)


def _chat(items: ItemProcessor, images: DirectImages) -> ChatTokens | None:
    processor, saved = items.processor, items.processing_kwargs
    given = {*saved.get("text", {}), *saved.get("common", {})}
    if not isinstance(processor, ProcessorMixin) or not isinstance(images, PatchedImages) or given - _KNOWN:
        return None
    facts = vars(processor)
    token, number = facts.get("image_token"), facts.get("image_token_id")
    if not isinstance(token, str) or not isinstance(number, int):
        return None
    others = (facts.get("video_token"), facts.get("audio_token"))
    return ChatTokens(token, number, images.merge**2, tuple(one for one in others if isinstance(one, str)))


def _same(slow: ItemProcessor, fast: ItemProcessor) -> bool:
    """Whether both give equal features for every probe, at least one of them with an image."""
    compared = 0
    for item, prompt in _probes("message" in slow.calls):
        expected, found = _features(slow, item, prompt), _features(fast, item, prompt)
        if (expected is None) != (found is None):
            return False
        if expected is None or found is None:
            continue
        compared += "image" in item.modalities
        left, right = expected.values, found.values
        if replace(expected, values={}) != replace(found, values={}) or left.keys() != right.keys():
            return False
        if any(left[name].dtype != right[name].dtype for name in left):
            return False
        if not all(torch.equal(left[name], right[name]) for name in left):
            return False
    return compared > 0


def _probes(chat: bool) -> Iterator[tuple[Item, str | None]]:
    from PIL import Image

    random = np.random.default_rng(0)
    pictures = [
        Part("image", Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))) for size in _SIZES
    ]
    for number, picture in enumerate(pictures):
        yield Item((picture,), key=str(number)), None
    if chat:
        text = Part("text", _LONG)
        yield Item((text,), key="text"), None
        yield Item((text,), key="text"), "Find the page: "
        yield Item((pictures[0],), key="0"), "Describe it."
        yield Item((pictures[0], text, pictures[1]), key="both"), None
        for sides in ((pictures[0], text), (text, pictures[1]), (pictures[2], pictures[3])):
            pair = tuple(Part(one.modality, one.value, side) for one, side in zip(sides, SIDES, strict=True))
            yield Item(pair, key="pair"), "Which pages fit?"


def _features(items: ItemProcessor, item: Item, prompt: str | None) -> Features | None:
    try:
        return items(item, prompt=prompt)
    except (SightlineError, TemplateError):  # a template may refuse a role
        return None
