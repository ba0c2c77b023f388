"""Items as chat messages, for models whose processor has a chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sightline.types import Item, Part

# The roles of a pair's two sides, which are its messages' roles, too.
SIDES = ("query", "document")

MessageFormat = Literal["structured", "flat"]
Messages = list[dict[str, Any]]

# Signs in a chat template that it expects content as a list of typed parts rather than a string.
_STRUCTURED_SIGNS = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")


def infer_format(template: str | None) -> MessageFormat:
    """How a chat template wants its content: a list of typed parts, or a plain string."""
    if not template or any(sign in template for sign in _STRUCTURED_SIGNS):
        return "structured"
    return "flat"


def source_of(item: Item, part: Part) -> str | None:
    """Where a part came from, for messages; of a pair, with the side."""
    if part.role not in SIDES:
        return item.source
    return f"{item.source}, {part.role}" if item.source else part.role


def to_messages(
    item: Item, opened: Callable[[Part], Any], form: MessageFormat, prompt: str | None
) -> Messages:
    """The chat messages of an item.

    An item that was not given as messages becomes one user message with its parts in order; a prompt
    becomes a system message in front, as in ST.

    Args:
        opened: turns a media part into what the processor takes (an image, an array).
    """
    messages: Messages = []
    for part in item.parts:
        role = part.role or "user"
        content = {
            "type": part.modality,
            part.modality: part.value if part.modality == "text" else opened(part),
        }
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"].append(content)
        else:
            messages.append({"role": role, "content": [content]})
    if prompt:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt}]})
    return [_flat(message) for message in messages] if form == "flat" else messages


def _flat(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if all(part["type"] == "text" for part in content):
        return {**message, "content": "".join(part["text"] for part in content)}
    return message


def skeleton(messages: Messages, filler: str) -> Messages:
    """The messages with every text outside the system message replaced, to find what the template adds."""
    result: Messages = []
    for message in messages:
        if message["role"] == "system":
            result.append(message)
        elif isinstance(message["content"], str):
            result.append({**message, "content": filler})
        else:
            result.append({**message, "content": [{"type": "text", "text": filler}]})
    return result


def common_suffix(first: list[int], second: list[int]) -> list[int]:
    """The longest common tail of two token lists; empty when one is the other's tail, which proves nothing."""
    count = 0
    for left, right in zip(reversed(first), reversed(second)):
        if left != right:
            break
        count += 1
    return first[len(first) - count :] if 0 < count < min(len(first), len(second)) else []


def is_pair(item: Item) -> bool:
    """Whether an item is a pair of a query and a document."""
    return {part.role for part in item.parts} == set(SIDES)


def is_read_at_its_end(item: Item) -> bool:
    """Whether a template's closing tokens matter: for texts, as in ST, and for every pair, which is scored there."""
    return item.modalities == {"text"} or is_pair(item)


def put_back(values: Mapping[str, Tensor], suffix: Sequence[int]) -> None:
    """Puts a template's closing tokens, which a length limit cuts off first, in place of the last tokens.

    Args:
        values: ``input_ids`` (1, T) and, where there are media, ``mm_token_type_ids`` (1, T), 0 for text.
        suffix: the closing tokens, T at most.

    Raises:
        ValueError: the last tokens stand for media.
    """
    if not suffix:
        return
    kinds_1T = values.get("mm_token_type_ids")
    if kinds_1T is not None and kinds_1T[0, -len(suffix) :].any():
        raise ValueError("mismatch between the tokens of media and those that are left")
    values["input_ids"][0, -len(suffix) :] = torch.tensor(suffix)


@dataclass(frozen=True)
class ChatTokens:
    """Rendered chat text to tokens, each image's placeholder repeated after tokenizing instead of before.

    Attributes:
        image_token: the placeholder the template writes for an image.
        image_id: its token.
        merged: vision patches per token.
        others: placeholders of other media.
    """

    image_token: str
    image_id: int
    merged: int
    others: tuple[str, ...]

    def __call__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text: str,
        patches: Sequence[int],
        limit: int | None,
    ) -> dict[str, Tensor] | None:
        """``input_ids``, ``attention_mask`` and ``mm_token_type_ids``, each (1, T).

        Args:
            tokenizer: the processor's.
            text: a conversation as the template renders it.
            patches: how many each image has, in order.
            limit: tokens at most.

        Returns:
            None where the processor has something to cut or to refuse: more tokens than ``limit``, or placeholders
            in the text that are not those of its images.
        """
        if text.count(self.image_token) != len(patches) or any(token in text for token in self.others):
            return None
        # The template writes the beginning itself where it has one, as in transformers' apply_chat_template.
        begun = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        found: list[int] = tokenizer(text, add_special_tokens=not begun, truncation=False, verbose=False)[
            "input_ids"
        ]
        ids: list[int] = []
        counts = iter(patches)
        for number in found:
            if number == self.image_id:
                ids += [number] * (next(counts, 0) // self.merged)
            else:
                ids.append(number)
        if limit is not None and len(ids) > limit:
            return None
        ids_1T = torch.tensor([ids], dtype=torch.long)
        return {
            "input_ids": ids_1T,
            "attention_mask": torch.ones_like(ids_1T),
            "mm_token_type_ids": (ids_1T == self.image_id).long(),
        }
