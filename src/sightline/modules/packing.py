"""Whether a transformers model can take sequences without padding, found by trying.

A model qualifies if it takes position ids and gives, for sequences packed into one row, the vectors it gives for
the padded ones. Models with learned, rotary or no positions do; those that compute a bias from the length of the
row (MPNet, T5) don't, and keep getting padded batches.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from sightline.modules import attention
from sightline.modules.flash import number_type_of, runs_flash
from sightline.modules.segments import Segments, pack, unpack, working_on
from sightline.modules.trying import FAILURES, failure, trying
from sightline.modules.varlen_attention import HALF

logger = logging.getLogger(__name__)

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
        varlen: our attention runs torch's kernel for a GPU, which computes in half precision and has no dropout.
        drops: the model drops attention weights in training.
    """

    first_position: int
    flash: bool
    takes: frozenset[str]
    varlen: bool = False
    drops: bool = False

    @property
    def needs_half(self) -> bool:
        """Whether its kernel computes in half precision only."""
        return self.flash or self.varlen

    def suits(self, model: PreTrainedModel, *, training: bool) -> bool:
        """Whether to run without padding in this context.

        Where torch's kernel does not do, our attention would be right all the same, but take as many kernels as
        there are lengths, where a padded batch takes one.
        """
        if (
            self.needs_half and number_type_of(model) not in HALF
        ):  # runs sdpa then (see `flash`), which is padded
            return False
        return not (self.varlen and training and self.drops)

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
    """Whether micro-batches of texts run without padding through a model, tried once per kind of device and kernel.

    Args:
        entry: finds the hidden states in what the model returns.
    """

    def __init__(self, entry: Callable[[Any], Tensor]) -> None:
        self.entry = entry
        self._found: dict[tuple[str, bool], Packing | None] = {}

    def possible(self, model: PreTrainedModel) -> bool:
        """Whether texts run without padding on the device ``model`` is on, in this context, in training too."""
        found = None if model.is_activation_checkpointing else self._on(model, model.device)
        return found is not None and found.suits(model, training=True)

    def of(self, model: PreTrainedModel, arguments: Mapping[str, Tensor]) -> Packing | None:
        """How to run these arguments without padding, or None to run them as they are."""
        if not {"input_ids", "attention_mask"} <= set(arguments) <= TEXT:
            return None
        # Recomputed activations would run outside of the context that tells attention where sequences end.
        if torch.compiler.is_compiling() or model.is_activation_checkpointing:
            return None
        found = self._on(model, arguments["input_ids"].device)
        if found is None or not found.suits(model, training=model.training):
            return None
        # Since it was tried, sdpa may have come back: on another device, or in the place of flash attention.
        return found if found.flash or exchange_attention(model) else None

    def _on(self, model: PreTrainedModel, device: torch.device) -> Packing | None:
        # In float32 a model that is to run flash attention runs sdpa for a while (see `flash`).
        key = (device.type, runs_flash(model))
        if key not in self._found:
            self._found[key] = find_packing(model, self.entry)
        return self._found[key]


def find_packing(model: PreTrainedModel, entry: Callable[[Any], Tensor]) -> Packing | None:
    """How ``model`` is called without padding on the device it is on, or None if it can't be; the log says why.

    A model that runs transformers' ``sdpa`` is switched to our attention function, which is the same for padded
    batches. On a GPU that function takes torch's own kernel for sequences of any lengths; flash attention from a
    package or from the Hub is called by transformers.

    Raises:
        torch.OutOfMemoryError: there was no memory to try it.
    """
    found = _find(model, entry)
    if isinstance(found, str):
        logger.info("Texts run padded through %s: %s", type(model).__name__, found)
        return None
    return found


def _find(model: PreTrainedModel, entry: Callable[[Any], Tensor]) -> Packing | str:
    """How to call it, or why it can't be."""
    parameters = inspect.signature(model.forward).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    weights = list(model.parameters())
    if "position_ids" not in parameters:
        return "it takes no position ids"
    if any(isinstance(one, DTensor) for one in weights):
        return "its weights are spread over several devices"
    place, before, flash = weights[0].device.type, model.config._attn_implementation, runs_flash(model)
    if flash and not open_ended:
        return f"it does not tell {before} where a sequence ends"
    if not flash:
        if place not in ("cpu", "cuda"):
            return f"no attention here goes without padding on {place!r}"
        if before not in ("sdpa", attention.NAME):
            return f"its attention is {before}; sdpa and flash attention go without padding"
        if not exchange_attention(model):
            return "its attention cannot be exchanged"
    facts = model.config.get_text_config().to_dict()
    drops = any(value for name, value in facts.items() if "att" in name and "drop" in name)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    reasons: list[str] = []
    for first in dict.fromkeys((0, (pad or 0) + 1)):
        found = Packing(first, flash, frozenset(parameters), place == "cuda" and not flash, drops)
        reason = _difference(model, found, entry)
        if reason is None:
            return found
        reasons.append(reason)
    if place == "cuda" and not flash:
        model.set_attn_implementation("sdpa")
    return reasons[0]


def adopt_attention(model: PreTrainedModel) -> bool:
    """`exchange_attention` for a model on a CPU, which is better off with ours for padded batches too."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return exchange_attention(model) if on_cpu else model.config._attn_implementation == attention.NAME


def exchange_attention(model: PreTrainedModel) -> bool:
    """Switches a model from transformers' ``sdpa`` to our attention function; says whether it has ours."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(attention.NAME)
    return model.config._attn_implementation == attention.NAME


def _difference(model: PreTrainedModel, packing: Packing, entry: Callable[[Any], Tensor]) -> str | None:
    """What differs when three short sequences are packed and when they are padded; None where nothing does."""
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
        with trying(model, half=packing.needs_half):
            padded = entry(model(**arguments, return_dict=True)) * arguments["attention_mask"].unsqueeze(-1)
            packed = packing.call(model, arguments, entry)
    except FAILURES as error:
        return failure(error)
    if packed.shape != padded.shape:
        return f"packed it gives vectors of shape {tuple(packed.shape)}, padded {tuple(padded.shape)}"
    # Under autocast hidden states are float32, and no better than what they are made of.
    number_type = padded.dtype if model.dtype in HALF or not packing.needs_half else torch.bfloat16
    limit = TOLERANCE.get(number_type, 1e-4) * float(padded.abs().max())
    largest = float((packed - padded).abs().max())
    if largest <= limit:
        return None
    return f"its vectors depend on the row they stand in (packed they differ by {largest:.2g})"
