"""Items as chat messages, for models whose processor has a chat template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sightline.types import Item, Part

MessageFormat = Literal["structured", "flat"]
Messages = list[dict[str, Any]]

# Signs in a chat template that it expects content as a list of typed parts rather than a string.
_STRUCTURED_SIGNS = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")


def infer_format(template: str | None) -> MessageFormat:
    """How a chat template wants its content: a list of typed parts, or a plain string."""
    if not template or any(sign in template for sign in _STRUCTURED_SIGNS):
        return "structured"
    return "flat"


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
