"""Whether a transformers model can take sequences without padding, found by trying.

A model qualifies if it takes position ids and gives, for sequences packed into one row, the vectors it gives for
the padded ones. Models with learned, rotary or no positions do; those that compute a bias from the length of the
row (MPNet, T5) don't, and keep getting padded batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from sightline.modules import attention
from sightline.modules.modes import evaluating
from sightline.modules.segments import Segments, pack, unpack, working_on

# Largest difference, relative to the largest component, at which packed and padded count as equal.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
# Features of a micro-batch of texts; with any other it is left alone.
TEXT = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})


@dataclass(frozen=True)
class Packing:
    """How a model is called without padding.

    Attributes:
        first_position: position id of a sequence's first token (RoBERTa counts from behind its padding id).
        flash: the model runs flash attention, which wants the segments' bounds as arguments.
        takes: parameters of the model's forward.
    """

    first_position: int
    flash: bool
    takes: frozenset[str]

    def call(
        self, method: Callable[..., Any], arguments: Mapping[str, Any], entry: Callable[[Any], Tensor]
    ) -> Tensor:
        """(n, L, D) hidden states of padded (n, L) arguments, zeros where there is no token.

        Args:
            method: the model's forward.
            arguments: ``input_ids``, ``attention_mask`` and what else is per token.
            entry: finds the hidden states in what the model returns.
        """
        mask_NL = arguments["attention_mask"]
        lengths = Segments(tuple(mask_NL.sum(1).tolist()))
        real_R = mask_NL.flatten().nonzero().squeeze(1)
        packed: dict[str, Any] = {
            name: pack(value, real_R)
            for name, value in arguments.items()
            if name in TEXT and name != "attention_mask" and name in self.takes
        }
        packed["position_ids"] = self._positions(packed["input_ids"], lengths)
        if self.flash:
            bounds = lengths.bounds(real_R.device)
            longest = max(lengths.lengths)
            packed |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
            packed |= {"max_length_q": longest, "max_length_k": longest}
        with working_on(lengths):
            output = method(**packed, return_dict=True)
        return unpack(entry(output), real_R, (mask_NL.shape[0], mask_NL.shape[1]))

    def _positions(self, ids_1T: Tensor, lengths: Segments) -> Tensor:
        """(1, T) position ids as the model itself would count them."""
        positions_1T = lengths.positions(ids_1T.device) + self.first_position
        if not self.first_position:
            return positions_1T
        # RoBERTa's family does not count a padding token, also where a text spells one out (``<pad>``).
        skipped_1T = (ids_1T == self.first_position - 1).long()
        if not skipped_1T.any():
            return positions_1T
        before_T = skipped_1T[0].cumsum(0)
        starts = [0, *accumulate(lengths.lengths)][:-1]
        sizes = torch.tensor(lengths.lengths, device=ids_1T.device)
        # Padding tokens of the same sequence up to here.
        offsets_T = (before_T - skipped_1T[0])[starts].repeat_interleave(sizes)
        counted_1T = positions_1T - (before_T - offsets_T)
        return torch.where(skipped_1T.bool(), self.first_position - 1, counted_1T)


class TextPacking:
    """Whether micro-batches of texts run without padding through a model, tried once per kind of device.

    Args:
        entry: finds the hidden states in what the model returns.
    """

    def __init__(self, entry: Callable[[Any], Tensor]) -> None:
        self.entry = entry
        self._found: dict[str, Packing | None] = {}

    def possible(self, model: PreTrainedModel) -> bool:
        """Whether texts run without padding on the device ``model`` is on."""
        return not model.is_activation_checkpointing and self._on(model, model.device) is not None

    def of(self, model: PreTrainedModel, arguments: Mapping[str, Tensor]) -> Packing | None:
        """How to run these arguments without padding, or None to run them as they are."""
        if not {"input_ids", "attention_mask"} <= set(arguments) <= TEXT:
            return None
        # Recomputed activations would run outside of the context that tells attention where sequences end.
        if torch.compiler.is_compiling() or model.is_activation_checkpointing:
            return None
        return self._on(model, arguments["input_ids"].device)

    def _on(self, model: PreTrainedModel, device: torch.device) -> Packing | None:
        if device.type not in self._found:
            self._found[device.type] = find_packing(model, self.entry)
        return self._found[device.type]


def find_packing(model: PreTrainedModel, entry: Callable[[Any], Tensor]) -> Packing | None:
    """How ``model`` is called without padding on the device it is on, or None if it can't be.

    On a CPU a model that runs transformers' ``sdpa`` is switched to our attention function, which is the same
    for padded batches; elsewhere only flash attention is used without padding.
    """
    parameters = inspect.signature(model.forward).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    weights = list(model.parameters())
    if "position_ids" not in parameters or any(isinstance(one, DTensor) for one in weights):
        return None
    before = model.config._attn_implementation
    flash = str(before).startswith("flash_attention") and open_ended
    if not flash:
        if weights[0].device.type != "cpu" or before not in ("sdpa", attention.NAME):
            return None
        if not adopt_attention(model):
            return None
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    for first in dict.fromkeys((0, (pad or 0) + 1)):
        found = Packing(first, flash, frozenset(parameters))
        if _agrees(model, found, entry):
            return found
    return None


def adopt_attention(model: PreTrainedModel) -> bool:
    """Switches a model on a CPU from transformers' ``sdpa`` to our attention function; says whether it has ours."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(attention.NAME)
    return model.config._attn_implementation == attention.NAME


def _agrees(model: PreTrainedModel, packing: Packing, entry: Callable[[Any], Tensor]) -> bool:
    """Whether three short sequences give the same hidden states packed and padded."""
    text = model.config.get_text_config()
    window = getattr(text, "sliding_window", None) or 0
    # One sequence beyond a sliding window, so that a window that is not kept to shows.
    lengths = (window * 2 + 3 if 0 < window <= 256 else 9, 5, 2)
    device = next(model.parameters()).device
    pad = getattr(text, "pad_token_id", None) or 0
    ids = torch.full((len(lengths), lengths[0]), pad)
    mask = torch.zeros_like(ids)
    tokens = [token for token in range(min(int(text.vocab_size), 64)) if token != pad] or [0]
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.tensor(
            [tokens[(row + 7 * column) % len(tokens)] for column in range(length)]
        )
        mask[row, :length] = 1
    arguments = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    try:
        with evaluating(model), torch.inference_mode(), torch.autocast(device.type, enabled=False):
            padded = entry(model(**arguments, return_dict=True)) * arguments["attention_mask"].unsqueeze(-1)
            packed = packing.call(model, arguments, entry)
    # Models fail in their own ways on inputs they were not made for; every one means: not this way.
    except Exception:
        return False
    if packed.shape != padded.shape:
        return False
    limit = TOLERANCE.get(padded.dtype, 1e-4) * float(padded.abs().max())
    return bool((packed - padded).abs().max() <= limit)
