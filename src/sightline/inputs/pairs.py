"""Pairs of a query and a document, each of any modality, as items; and from them to features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError

from sightline.errors import InputError, MediaError
from sightline.inputs.chat import SIDES, is_pair, source_of, to_messages
from sightline.inputs.collate import SEQUENCE_FILL, group_name
from sightline.inputs.hashing import pair_key
from sightline.inputs.messages import is_messages
from sightline.inputs.parse import parse
from sightline.inputs.processor import ItemProcessor
from sightline.types import MODALITIES, Cost, Features, Item, Modality, Part

# Pairs of which each but the first differs from the first in one side, in all that a template could look at.
_PROBES = (("heron", "lighthouse keeper"), ("ant", "lighthouse keeper"), ("heron", "mill"))


def parse_pair(value: Any, *, source: str | None = None, modalities: Iterable[Any] | None = None) -> Item:
    """An item whose parts have the roles ``query`` and ``document``.

    Args:
        value: a list or tuple of two values, each as of `inputs.parse.parse`: text, path, URL, bytes, image, array,
            dict of modalities. An item made here before is returned as it is.
        source: where it came from, for messages: ``pair 12``.
        modalities: what the model reads (`Reranker.modalities`); None for everything.

    Raises:
        InputError: not two values, or one of them nothing the model reads; names the side.
        MediaError: a file of a side is missing, empty or not media.
    """
    if is_pair_item(value):
        pair: Item = value
        return pair
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        size = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
        raise InputError(
            f"expected a pair (query, document), found a {type(value).__name__}{size}", source=source
        )
    sides = [
        (side, _side(one, _named(source, side), modalities)) for side, one in zip(SIDES, value, strict=True)
    ]
    parts = tuple(Part(part.modality, part.value, side) for side, item in sides for part in item.parts)
    return Item(parts=parts, key=pair_key(sides), source=source)


def _side(value: Any, source: str, modalities: Iterable[Any] | None) -> Item:
    if is_messages(value) or (isinstance(value, Item) and value.is_message):
        raise InputError(
            "chat messages cannot be one side of a pair, which becomes a message itself; give text, media or a dict "
            'of modalities ({"text": ..., "image": ...})',
            source=source,
        )
    return parse(value, source=source, modalities=modalities)


def is_pair_item(value: Any) -> bool:
    """Whether a value is an item of `parse_pair`."""
    return isinstance(value, Item) and is_pair(value)


def _named(source: str | None, sides: str) -> str:
    return f"{source}, {sides}" if source else sides


@dataclass
class PairProcessor:
    """Preprocesses pairs; picklable, without weights.

    Where the model has a chat template, a pair becomes two messages with the roles ``query`` and ``document``, and a
    prompt a system message in front, as in ST. Elsewhere the tokenizer joins two texts, and the prompt stands in
    front of the query.

    Attributes:
        processor: the model's, with the arguments the checkpoint calls it with.
    """

    processor: ItemProcessor

    def __post_init__(self) -> None:
        self.processor.notices.begin()

    @property
    def max_tokens(self) -> int | None:
        """Tokens a pair is cut at, or None without a limit."""
        return self.processor.max_tokens

    @property
    def modalities(self) -> tuple[str, ...]:
        """What either side of a pair may hold."""
        calls = self.processor.calls
        found = {part for call in calls for part in ((call,) if isinstance(call, str) else call)}
        if "message" not in calls:
            found &= {"text"}  # only texts can be joined without a template
        return tuple(name for name in MODALITIES if name in found)

    def __call__(self, pair: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
        """Features of one pair, as `many` gives them."""
        return self.many([pair], role=role, prompt=prompt)[0]

    def many(
        self, pairs: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]:
        """Features of pairs; of a pair of texts that is too long, the longer side is cut first.

        Args:
            pairs: items of `parse_pair`.
            role: a pair has both; taken for the sake of those who prepare items of any kind.
            prompt: an instruction, or text put in front of each query.

        Returns:
            One Features per pair: ``input_ids`` (T,) and what else the processor gives, unpadded.

        Raises:
            InputError: a modality the model does not read, or a length limit that cuts off an image's placeholder
                tokens; names the pair and the side.
            MediaError: a part cannot be opened.
        """
        if not pairs:
            return []
        for pair in pairs:
            self._check(pair)
        if "message" in self.processor.calls:
            return [self._in_messages(pair, prompt) for pair in pairs]
        tokenizer = self.processor.tokenizer
        assert tokenizer is not None
        queries, documents = ([_text(pair, side) for pair in pairs] for side in SIDES)
        encoded = tokenizer([(prompt or "") + query for query in queries], documents, **self._arguments())
        names = [name for name in encoded if name in SEQUENCE_FILL]
        return [self._features({name: encoded[name][row] for name in names}) for row in range(len(pairs))]

    def _check(self, pair: Item) -> None:
        if not is_pair_item(pair):
            raise InputError("expected a pair (query, document), found a single item", source=pair.source)
        taken = self.modalities
        for part in pair.parts:
            if part.modality not in taken:
                raise InputError(
                    f"the model reads pairs of {' and '.join(taken)}, not {part.modality}",
                    source=source_of(pair, part),
                )

    def _in_messages(self, pair: Item, prompt: str | None) -> Features:
        try:
            return self.processor(pair, prompt=prompt)
        except TemplateError as error:
            raise InputError(f"the model's chat template refuses it: {error}", source=pair.source) from error
        except MediaError:
            raise  # names its side already
        except InputError as error:
            if error.source != pair.source:
                raise
            # Where a side is at fault, it is one with media: texts are cut without a word.
            media = {part.role for part in pair.parts if part.modality != "text"}
            sides = " and ".join(side for side in SIDES if side in media)
            where = _named(pair.source, sides) if sides else pair.source
            raise InputError(error.cause_text, source=where) from error

    def _arguments(self) -> dict[str, Any]:
        saved = self.processor.processing_kwargs
        arguments = (
            {"truncation": "longest_first"} | dict(saved.get("text", {})) | dict(saved.get("common", {}))
        )
        # Padding is the collator's, and tensors are made per pair.
        return {name: value for name, value in arguments.items() if name not in ("padding", "return_tensors")}

    def _features(self, values: dict[str, list[int]]) -> Features:
        if not values["input_ids"]:
            # Two empty texts and a tokenizer without marks of its own: a row needs one position to be scored at.
            values = {name: [0] for name in values} | {"input_ids": [self._mark()]}
            if "attention_mask" in values:
                values["attention_mask"] = [1]
        return Features(
            values={name: torch.tensor(value, dtype=torch.long) for name, value in values.items()},
            group=group_name("", "text"),
            cost=Cost(len(values["input_ids"])),
        )

    def _mark(self) -> int:
        tokenizer = self.processor.tokenizer
        assert tokenizer is not None
        options = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, 0)
        return next(option for option in options if option is not None)


def _text(pair: Item, side: str) -> str:
    return "\n".join(part.value for part in pair.parts if part.role == side)


def template_failure(processor: ItemProcessor) -> str | None:
    """Why a model's chat template cannot carry a pair, or None: found by rendering pairs that differ in one side."""
    try:
        first, *others = [_rendered(processor, *(Part("text", text) for text in pair)) for pair in _PROBES]
    except Exception as error:  # a template raises what it likes
        return f"it raises {type(error).__name__}: {error}"
    lost = [side for side, other in zip(SIDES, others, strict=True) if other == first]
    return f"it leaves out the {' and the '.join(lost)}" if lost else None


def template_length(processor: ItemProcessor) -> int:
    """Tokens of a model's question without a query and a document."""
    tokenizer = processor.tokenizer
    assert tokenizer is not None
    nothing = Part("text", "")
    text = _rendered(processor, nothing, nothing)
    return len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


def carried_modalities(processor: ItemProcessor) -> frozenset[Modality]:
    """What a model's chat template carries on either side of a pair, of what its processor prepares."""
    return frozenset(name for name in MODALITIES if name in processor.calls and _carries(processor, name))


def _carries(processor: ItemProcessor, modality: Modality) -> bool:
    content, text, nothing = Part(modality, "lantern"), Part("text", "heron"), Part("text", "")
    pairs = (((content, text), (nothing, text)), ((text, content), (text, nothing)))
    try:
        return all(_rendered(processor, *there) != _rendered(processor, *away) for there, away in pairs)
    except Exception:  # a template raises what it likes
        return False


def _rendered(processor: ItemProcessor, query: Part, document: Part) -> str:
    sides = zip(SIDES, (query, document), strict=True)
    parts = tuple(Part(part.modality, part.value, side) for side, part in sides)
    item = Item(parts, key="probe")
    return processor.rendered(to_messages(item, lambda part: part.value, processor.message_format, None))
