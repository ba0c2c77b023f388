"""Padding, once per micro-batch: one rule per feature key.

Sequence features (T,) are padded to the longest row, on the side the model wants. Everything else keeps
the leading dimension its processor gave it (1 image, n patches, ...) and is concatenated along it; where
trailing dimensions differ (waveforms, tiles), they are padded at the end first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from sightline.types import Cost, Features, MicroBatch

PaddingSide = Literal["left", "right"]

# Value that fills the padding of a sequence feature; ``input_ids`` takes the tokenizer's pad token.
SEQUENCE_FILL: Mapping[str, int] = {
    "input_ids": 0,
    "attention_mask": 0,
    "token_type_ids": 0,
    "mm_token_type_ids": 0,
    "position_ids": 0,
    "special_tokens_mask": 1,
    "expansion_positions": 0,  # of `inputs.roles`
}


def collate(
    features: Sequence[Features],
    indices: Sequence[int],
    *,
    pad_token_id: int | Mapping[str, int] = 0,
    padding_side: PaddingSide | Mapping[str, PaddingSide] = "right",
) -> MicroBatch:
    """One micro-batch on the CPU out of unpadded features of one group.

    Args:
        features: what the preprocessor gave, all of one group.
        indices: item index of each in the batch.
        pad_token_id: one for all, or one per feature prefix (``"text/"``) of fused items.
        padding_side: likewise.

    Returns:
        MicroBatch whose feature dict also holds ``modality``, ``route``, ``fused`` and ``prompt_length`` (n,).
    """
    assert features, "an empty micro-batch"
    assert len({one.group for one in features}) == 1, "items of several groups in one micro-batch"
    batched: dict[str, Any] = {}
    padded = 0
    # Text-only rows of a vision-language batch have no pixels, so keys are gathered over all rows.
    names = list(dict.fromkeys(name for one in features for name in one.values))
    for name in names:
        prefix, _, key = name.rpartition("/")
        values = [one.values[name] for one in features if name in one.values]
        if key in SEQUENCE_FILL:
            fill = _choose(pad_token_id, prefix) if key == "input_ids" else SEQUENCE_FILL[key]
            batched[name] = pad_sequences(values, fill, _choose(padding_side, prefix))
            if key == "input_ids":
                padded += batched[name].numel()
        else:
            batched[name] = concatenate(values)
    route, kind = split_group(features[0].group)
    modality = kind.partition("#")[0]  # what is behind it is said in `company`
    batched |= {"modality": modality, "route": route, "fused": "=" in route}
    batched["prompt_length"] = torch.tensor([one.prompt_length for one in features])
    tokens = sum(one.cost.tokens for one in features)
    return MicroBatch(
        features=batched,
        indices=torch.as_tensor(list(indices), dtype=torch.long),
        cost=Cost(tokens, sum(one.cost.patches for one in features)),
        padded_tokens=padded or tokens,
    )


def pad_sequences(values: Sequence[Tensor], fill: int, side: PaddingSide) -> Tensor:
    """(n, longest) out of n tensors (T,)."""
    longest = max(value.shape[0] for value in values)
    result = values[0].new_full((len(values), longest), fill)
    for row, value in enumerate(values):
        if side == "right":
            result[row, : value.shape[0]] = value
        else:
            result[row, longest - value.shape[0] :] = value
    return result


def concatenate(values: Sequence[Tensor]) -> Tensor:
    """Values joined along dimension 0, their trailing dimensions padded with zeros to a common size."""
    if len({value.shape[1:] for value in values}) > 1:
        sizes = [max(value.shape[dim] for value in values) for dim in range(1, values[0].ndim)]
        padded = []
        for value in values:
            amounts: list[int] = []
            for dim in range(value.ndim - 1, 0, -1):
                amounts += [0, sizes[dim - 1] - value.shape[dim]]
            padded.append(pad(value, amounts))
        values = padded
    return torch.cat(list(values))


def group_name(route: str, modality: str) -> str:
    """The group of items that may share a micro-batch: same route, same way of calling the model."""
    return f"{route}|{modality}"


def split_group(group: str) -> tuple[str, str]:
    """Route and modality of a group name."""
    route, _, modality = group.rpartition("|")
    return route, modality


def _choose(setting: Any, prefix: str) -> Any:
    return setting.get(prefix, setting.get("")) if isinstance(setting, Mapping) else setting
