"""One item to unpadded features and their cost, through the model's transformers processor.

Nothing here knows the model's weights, so the object travels to worker processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    FeatureExtractionMixin,
    ImageProcessingMixin,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.video_processing_utils import BaseVideoProcessor

from sightline.errors import InputError
from sightline.inputs import chat, media
from sightline.inputs.audio_features import AudioRules, Notices, audio_features, unheard
from sightline.inputs.collate import SEQUENCE_FILL, group_name
from sightline.inputs.company import company
from sightline.inputs.costs import cost_of
from sightline.inputs.frame_choice import FrameChoice, noted, without_sampling
from sightline.inputs.pixels import PIXELS, PixelNormalization, to_uint8
from sightline.inputs.refusals import refusal_of
from sightline.inputs.resize import GRID, DirectImages
from sightline.inputs.texts import tokenized
from sightline.inputs.video_settings import CarriedVideoSettings
from sightline.types import Features, Item, Part

ARGUMENT_NAMES = {"text": "text", "image": "images", "audio": "audio", "video": "videos"}
_SIZES = ("truncation", "max_length")  # text arguments that apply_chat_template takes itself
_RAW = {"do_rescale": False, "do_normalize": False}
_NO_LIMIT = 1_000_000  # transformers marks tokenizers without a limit by a very large number


@dataclass
class ItemProcessor:
    """Preprocesses items for one backbone.

    Attributes:
        processor: transformers processor, tokenizer, image processor or feature extractor.
        calls: modality (``"text"``, ``("image", "text")``, ``"message"``) -> group key; modalities with the
            same group key may share a forward pass.
        message_format: how the chat template wants its content.
        processing_kwargs: per-modality arguments of the processor's call, as saved by ST.
        normalization: what is put off until the device, or None when pixels come finished.
        patch_size: side of a vision patch in pixels, for the cost.
        max_image_pixels: images above it are refused before they are decoded.
        lower_case: the checkpoint has texts lower-cased, which the tokenizer's own files may not say.
        image_mark: placeholder of an image in front of a text, for models that are not asked by chat messages.
        images: shortcut around the image processor, where `sightline.inputs.shortcuts` has proved one.
        chat_tokens: shortcut around the processor's call on chat messages, likewise; needs ``images``.
        audio: what may be done with audio features in a batch.
        frames: which frames of a video are taken; None without a video processor.
        film: like ``normalization``, for videos.
        notices: what a person is told of items that are used in part.
    """

    processor: Any
    calls: Mapping[str | tuple[str, ...], str]
    message_format: chat.MessageFormat = "structured"
    processing_kwargs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    normalization: PixelNormalization | None = None
    patch_size: int = 16
    max_image_pixels: int = 64_000_000
    lower_case: bool = False
    image_mark: str = ""
    images: DirectImages | None = None
    chat_tokens: chat.ChatTokens | None = None
    audio: AudioRules = field(default_factory=AudioRules)
    frames: FrameChoice | None = None
    film: PixelNormalization | None = None
    _suffixes: dict[str, list[int]] = field(default_factory=dict, repr=False)
    _prompts: dict[str, int] = field(default_factory=dict, repr=False)
    notices: Notices = field(default_factory=Notices, repr=False, compare=False)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The processor's tokenizer, or None for pure image and audio processors."""
        if isinstance(self.processor, PreTrainedTokenizerBase):
            return self.processor
        return part_of(self.processor, "tokenizer")

    @property
    def carries_video(self) -> bool:
        """Whether the model has a video processor that cannot be loaded here."""
        parts = (self.processor, *vars(self.processor).values())
        return any(isinstance(part, CarriedVideoSettings) for part in parts)

    @property
    def max_tokens(self) -> int | None:
        """Tokens an item is cut at, or None without a limit."""
        # A checkpoint may keep the limit among several groups of arguments; ST asks them in this order.
        groups = (self.processing_kwargs.get(name, {}) for name in ("chat_template", "text", "common"))
        limit = next((group["max_length"] for group in groups if group.get("max_length") is not None), None)
        if limit is None and self.tokenizer is not None:
            limit = self.tokenizer.model_max_length
        return limit if limit is not None and limit < _NO_LIMIT else None

    def __call__(self, item: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
        """Features of one item.

        Args:
            item: what to embed.
            role: query or document; models of one kind treat both alike.
            prompt: text put in front (a system message where the model takes chat messages).

        Raises:
            InputError: the model does not take the item's modality, or a length limit cuts off the
                placeholder tokens of its images.
            MediaError: a part cannot be opened.
        """
        modality = self._modality(item)
        try:
            if modality == "message":
                values, prompt_tokens = self._chat(item, prompt), 0
            else:
                values, prompt_tokens = self._plain(item, modality, prompt), 0
                if prompt and "text" in item.modalities:
                    prompt_tokens = self._prompt_tokens(prompt)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(refusal_of(error, self.max_tokens), source=item.source) from error
        return self._finished(values, modality, prompt_tokens)

    def many(
        self, items: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]:
        """Features of several items, equal to those of one call each; plain texts go through the tokenizer together."""
        tokenizer = self.processor
        plain = "text" in self.calls and "message" not in self.calls
        if not plain or not isinstance(tokenizer, PreTrainedTokenizerBase) or len(items) < 2:
            return [self(item, role=role, prompt=prompt) for item in items]
        if any(item.is_message or item.modalities != {"text"} for item in items):
            return [self(item, role=role, prompt=prompt) for item in items]
        texts = [(prompt or "") + "\n".join(part.value for part in item.parts) for item in items]
        try:
            rows = tokenized(tokenizer, texts, self._kwargs()["text_kwargs"])
        except ValueError:  # one by one, the text at fault is named
            return [self(item, role=role, prompt=prompt) for item in items]
        prompt_tokens = self._prompt_tokens(prompt) if prompt else 0
        return [self._finished(values, "text", prompt_tokens) for values in rows]

    def _finished(
        self, values: Mapping[str, Any], modality: str | tuple[str, ...], prompt_tokens: int
    ) -> Features:
        features = {
            name: _unpadded(name, value) for name, value in values.items() if isinstance(value, Tensor)
        }
        if "input_ids" in features and not features["input_ids"].numel():
            features |= self._empty_text(features)
        key = "+".join(modality) if isinstance(modality, tuple) else modality
        return Features(
            values=features,
            group=group_name("", self.calls[modality] + company(features, self.audio)),
            cost=cost_of(features, self.patch_size, self.audio),
            modality=key,
            prompt_length=prompt_tokens,
        )

    def open(self, part: Part, source: str | None) -> Any:
        """The in-memory value of a media part: RGB image, mono waveform at the model's rate, `VideoFrames`.

        Raises:
            MediaError: missing, unreadable, too large or not of the modality.
        """
        if part.modality == "image":
            # Without the shortcut nobody knows what size the processor makes of an image.
            return media.open_image(
                part.value, source=source, max_pixels=self.max_image_pixels, fit=self.images
            )
        if part.modality == "audio":
            extractor = part_of(self.processor, "feature_extractor") or self.processor
            clip = media.load_audio(part.value, sampling_rate=part_rate(extractor), source=source)
            self.notices.tell(unheard(clip, extractor, self.processing_kwargs.get("audio", {})), source)
            return clip
        return media.load_video(part.value, choice=self.frames, source=source)

    def _modality(self, item: Item) -> str | tuple[str, ...]:
        missing = sorted(part for part in item.modalities if not self._takes(part))
        if missing:
            hint = ""
            if "video" in missing and self.carries_video:
                hint = "; its video processor needs torchvision (pip install torchvision)"
            raise InputError(
                f"the model takes {self._spoken()}, not {', '.join(missing)}{hint}", source=item.source
            )
        if "message" in self.calls:
            return "message"
        if item.modality not in self.calls:
            shown = (
                "chat messages" if item.is_message else " and ".join(sorted(item.modalities)) + " together"
            )
            raise InputError(f"the model takes {self._spoken()}, but not {shown}", source=item.source)
        return item.modality

    def _takes(self, modality: str) -> bool:
        return any(modality == call or (isinstance(call, tuple) and modality in call) for call in self.calls)

    def _spoken(self) -> str:
        return ", ".join("+".join(call) if isinstance(call, tuple) else call for call in self.calls)

    def _plain(self, item: Item, modality: str | tuple[str, ...], prompt: str | None) -> dict[str, Any]:
        inputs: dict[str, list[Any]] = {}
        videos: list[media.VideoFrames] = []
        for part in item.parts:
            if part.modality != "text" and part.modality in inputs:
                raise InputError(
                    f"the model takes one {part.modality} per input, and this input has several",
                    source=item.source,
                )
            value = part.value if part.modality == "text" else self.open(part, item.source)
            inputs.setdefault(part.modality, []).append(noted(value, videos))
        if "text" in inputs:
            mark = self.image_mark if "image" in inputs else ""
            inputs["text"] = [mark + (prompt or "") + "\n".join(inputs["text"])]
        kwargs = self._kwargs(videos)
        if self.images is not None and set(inputs) == {"image"}:
            return dict(self.images(inputs["image"]))
        if set(inputs) == {"audio"}:
            extractor = part_of(self.processor, "feature_extractor") or self.processor
            assert isinstance(extractor, FeatureExtractionMixin), type(extractor)
            return audio_features(extractor, inputs["audio"], kwargs["audio_kwargs"], self.audio, item.source)
        if isinstance(self.processor, ProcessorMixin):
            named = {ARGUMENT_NAMES[name]: values for name, values in inputs.items()}
            return self._small(dict(self.processor(**named, **kwargs)))
        if isinstance(self.processor, PreTrainedTokenizerBase):
            return dict(self.processor(inputs["text"], return_tensors="pt", **kwargs["text_kwargs"]))
        call: Any = self.processor
        if isinstance(self.processor, BaseVideoProcessor):
            return dict(call(inputs["video"], return_tensors="pt", **kwargs["videos_kwargs"]))
        assert isinstance(self.processor, ImageProcessingMixin), type(self.processor)
        images = call(images=inputs["image"], return_tensors="pt", **kwargs["images_kwargs"])
        return self._small(dict(images))

    def _chat(self, item: Item, prompt: str | None) -> dict[str, Any]:
        videos: list[media.VideoFrames] = []
        messages = chat.to_messages(
            item,
            lambda part: noted(self.open(part, chat.source_of(item, part)), videos),
            self.message_format,
            prompt,
        )
        values = self._short(messages) or self._small(self.audio.trim(self._render(messages, videos)))
        limit = self.max_tokens
        tokens = values["input_ids"].shape[-1]
        restore = self.processing_kwargs.get("chat_template", {}).get("restore_suffix", True)
        if restore and limit is not None and tokens >= limit and chat.is_read_at_its_end(item):
            chat.put_back(values, self._suffix(messages)[-tokens:])
        return values

    def rendered(self, messages: chat.Messages) -> str:
        """The text the model's chat template makes of messages, media as their placeholders."""
        template = {name: value for name, value in self._template().items() if name not in _SIZES}
        text: str = self.processor.apply_chat_template([messages], tokenize=False, **template)[0]
        return text

    def _render(
        self, messages: chat.Messages, videos: Sequence[media.VideoFrames] = (), **text: Any
    ) -> dict[str, Any]:
        kwargs = self._kwargs(videos)
        template = self._template()
        sized = {name: template.pop(name) for name in _SIZES if name in template}
        text_kwargs = kwargs["text_kwargs"] | sized | text
        if isinstance(self.processor, ProcessorMixin):
            kwargs["text_kwargs"] = text_kwargs
            rendered = self.processor.apply_chat_template(
                [messages],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=kwargs,
                **template,
            )
        else:
            sizes = {name: text_kwargs.pop(name) for name in _SIZES if name in text_kwargs}
            rendered = self.processor.apply_chat_template(
                [messages], tokenize=True, return_dict=True, return_tensors="pt", tokenizer_kwargs=text_kwargs,
                **sizes, **template,
            )  # fmt: skip
        features: dict[str, Any] = dict(cast(Any, rendered))
        return features

    def _template(self) -> dict[str, Any]:
        """What the checkpoint passes to apply_chat_template."""
        saved = self.processing_kwargs.get("chat_template", {})
        return {name: value for name, value in saved.items() if name != "restore_suffix"}

    def _short(self, messages: chat.Messages) -> dict[str, Any] | None:
        """The features of messages by the shortcut, or None where the processor has to see to them."""
        if self.chat_tokens is None or self.images is None or self.tokenizer is None:
            return None
        contents = [message["content"] for message in messages]
        parts = [part for content in contents if not isinstance(content, str) for part in content]
        if any(part["type"] not in ("text", "image") for part in parts):
            return None
        text = self.rendered(messages)
        images = [part["image"] for part in parts if part["type"] == "image"]
        pixels = self.images(images) if images else {}
        patches = pixels[GRID].prod(dim=-1).tolist() if images else []
        tokens = self.chat_tokens(self.tokenizer, text, patches, self.max_tokens)
        return None if tokens is None else {**tokens, **pixels}

    def _small(self, values: dict[str, Any]) -> dict[str, Any]:
        """Raw pixels as bytes, each still image once."""
        if self.normalization is not None:
            values = to_uint8(values)
            if isinstance(values.get(PIXELS), Tensor):
                values[PIXELS] = self.normalization.fold(values[PIXELS])
        return values

    def _suffix(self, messages: chat.Messages) -> list[int]:
        key = repr(chat.skeleton(messages, ""))
        if key not in self._suffixes:
            first, second = (
                self._render(chat.skeleton(messages, filler), truncation=False)["input_ids"][0].tolist()
                for filler in ("0", "1 2 3 4")
            )
            self._suffixes[key] = chat.common_suffix(first, second)
        return self._suffixes[key]

    def _kwargs(self, videos: Sequence[media.VideoFrames] = ()) -> dict[str, dict[str, Any]]:
        saved = self.processing_kwargs
        common = {key: value for key, value in saved.get("common", {}).items() if key not in ("padding",)}
        text = {"truncation": "longest_first"} | dict(saved.get("text", {}))
        # Padding is the collator's: every item comes out at its own length, but for models that want the full one.
        text = {
            key: value
            for key, value in text.items()
            if key != "logits_to_keep" and (key != "padding" or value == "max_length")
        }
        images = dict(saved.get("image", {}))
        if self.normalization is not None:
            images |= _RAW
        kwargs = {
            "text_kwargs": text,
            "images_kwargs": images,
            "audio_kwargs": dict(saved.get("audio", {})),
            "videos_kwargs": without_sampling(saved.get("video", {}), videos) | (_RAW if self.film else {}),
        }
        if isinstance(self.processor, ProcessorMixin):
            kwargs["common_kwargs"] = {"return_tensors": "pt"} | common
        return kwargs

    def _prompt_tokens(self, prompt: str) -> int:
        if prompt not in self._prompts:
            tokenizer = self.tokenizer
            assert tokenizer is not None
            # Cut like every text: switching the limit off and on would reach texts of other threads.
            ids = tokenizer(prompt, **self._kwargs()["text_kwargs"])["input_ids"]
            closing = bool(ids) and ids[-1] in tokenizer.all_special_ids
            self._prompts[prompt] = len(ids) - closing
        return self._prompts[prompt]

    def _empty_text(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """One end token in place of no token at all: an empty page still has a vector."""
        tokenizer = self.tokenizer
        assert tokenizer is not None
        options = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, 0)
        token = next(option for option in options if option is not None)
        # An empty list comes out of the tokenizer as floats, so the type is set here.
        filled = {name: torch.zeros(1, dtype=torch.long) for name in features if name in SEQUENCE_FILL}
        return filled | {
            "input_ids": torch.tensor([token]),
            "attention_mask": torch.ones(1, dtype=torch.long),
        }


def part_of(processor: Any, name: str) -> Any:
    """A processor's working tokenizer, image processor, ... or None; processors declare which they have."""
    kind: Any = type(processor)
    if isinstance(processor, ProcessorMixin) and name in _parts_of(kind):
        part = vars(processor).get(name)
        return None if isinstance(part, CarriedVideoSettings) else part
    return None


@lru_cache(maxsize=64)
def _parts_of(kind: type[Any]) -> frozenset[str]:
    return frozenset(kind.get_attributes())  # read off a signature, which takes as long as tokenizing


def part_rate(extractor: Any) -> int:
    """The sampling rate in Hz a feature extractor wants."""
    return int(extractor.sampling_rate)


def _unpadded(name: str, value: Tensor) -> Tensor:
    return value[0] if name in SEQUENCE_FILL else value
