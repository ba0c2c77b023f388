"""Pairs of a query and a document as items, and from them to features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sightline.errors import InputError
from sightline.inputs.collate import SEQUENCE_FILL, group_name
from sightline.inputs.hashing import item_key
from sightline.inputs.processor import ItemProcessor
from sightline.types import Cost, Features, Item, Part

# The roles of a pair's two sides; in a chat template of ST's kind they are the messages' roles, too.
SIDES = ("query", "document")


def parse_pair(value: Any, *, source: str | None = None) -> Item:
    """An item of two parts, the query and the document.

    Args:
        value: a list or tuple of two texts.
        source: where it came from, for messages: ``pair 12``.

    Raises:
        InputError: not two values, or one of them no text.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        size = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
        raise InputError(
            f"expected a pair (query, document), found a {type(value).__name__}{size}", source=source
        )
    for side, one in zip(SIDES, value, strict=True):
        if not isinstance(one, str):
            raise InputError(
                f"the {side} is a {type(one).__name__}; the model takes pairs of texts", source=source
            )
    parts = tuple(Part("text", text, role=side) for side, text in zip(SIDES, value, strict=True))
    return Item(parts=parts, key=item_key(parts, is_message=False, source=source), source=source)


@dataclass
class PairProcessor:
    """Preprocesses pairs of texts for a tokenizer that joins them; picklable, without weights.

    Attributes:
        processor: holds the tokenizer and the arguments the checkpoint calls it with.
    """

    processor: ItemProcessor

    @property
    def max_tokens(self) -> int | None:
        """Tokens a pair is cut at, or None without a limit."""
        return self.processor.max_tokens

    def __call__(self, pair: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
        """Features of one pair, as `many` gives them."""
        return self.many([pair], role=role, prompt=prompt)[0]

    def many(
        self, pairs: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]:
        """Features of pairs, in one call of the tokenizer; the longer side is cut first.

        Args:
            pairs: items of `parse_pair`.
            role: a pair has both; taken for the sake of those who prepare items of any kind.
            prompt: text put in front of each query.

        Returns:
            One Features per pair: ``input_ids`` (T,) and what else the tokenizer gives, unpadded.
        """
        if not pairs:
            return []
        tokenizer = self.processor.tokenizer
        assert tokenizer is not None
        queries, documents = zip(*(pair.parts for pair in pairs), strict=True)
        encoded = tokenizer(
            [(prompt or "") + query.value for query in queries],
            [document.value for document in documents],
            **self._arguments(),
        )
        names = [name for name in encoded if name in SEQUENCE_FILL]
        return [self._features({name: encoded[name][row] for name in names}) for row in range(len(pairs))]

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
