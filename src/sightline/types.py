"""The types that every layer passes on: Item, Features, MicroBatch, Batch, Embeddings.

Shape letters used in this file::

    N  items          B  rows of a batch     C  columns of a batch
    D  embedding dim  T  tokens per item

torch is imported inside methods only, so that reading documents or printing help never loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Modality = Literal["text", "image", "audio", "video"]
Precision = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]

MODALITIES: tuple[Modality, ...] = ("text", "image", "audio", "video")


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an item.

    ``value`` is a ``str`` for text; for media it stays a reference (``pathlib.Path``, URL ``str``,
    ``bytes``) or an in-memory value (PIL image, array, ``{"array", "sampling_rate"}``) until a worker
    opens it. ``role`` is the chat role when the item came from chat messages, else None.
    """

    modality: Modality
    value: Any
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to embed: its parts in order, and a key that is equal for equal content.

    Attributes:
        parts: the parts in the order given.
        key: hex digest of the content (file bytes, pixels or text), never of the path.
        source: where it came from, for error messages: ``row 12, column 'image'`` or a path.
        is_message: True when the item was given as chat messages.
    """

    parts: tuple[Part, ...]
    key: str
    source: str | None = None
    is_message: bool = False

    @property
    def modality(self) -> str | tuple[str, ...]:
        """``"text"``, ``("image", "text")`` (sorted) or ``"message"``, as ST names modalities."""
        if self.is_message:
            return "message"
        found = tuple(sorted({part.modality for part in self.parts}))
        return found[0] if len(found) == 1 else found

    @property
    def modalities(self) -> frozenset[str]:
        """The base modalities the item contains."""
        return frozenset(part.modality for part in self.parts)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one item costs in a forward pass: language-model tokens and vision patches."""

    tokens: int
    patches: int = 0

    @property
    def total(self) -> int:
        """Positions the attention layers see; patches are counted at a quarter, because vision
        towers are a fraction of the language model's width and merge 4 patches into one token."""
        return self.tokens + self.patches // 4

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.patches + other.patches)


@dataclass(frozen=True)
class Features:
    """One item after preprocessing: unpadded CPU tensors, without a batch dimension for sequences.

    Attributes:
        values: feature name -> tensor. Sequence features are (T,); visual ones keep the leading
            dimension their model concatenates over, e.g. pixel_values (patches, ...).
        group: items of different groups never share a micro-batch (another route or forward method).
        cost: tokens and patches.
        modality: the modality the backbone is called with.
        prompt_length: tokens of the prompt, for poolings that leave it out; 0 without one.
    """

    values: Mapping[str, Tensor]
    group: str
    cost: Cost
    modality: str | tuple[str, ...] = "text"
    prompt_length: int = 0


@dataclass
class MicroBatch:
    """Padded features of some items, ready for one forward pass.

    Attributes:
        features: feature name -> batched tensor, plus ``modality`` and ``group`` facts as str.
        indices: (n,) long, which item of the Batch each row is.
        cost: sum over the items.
        padded_tokens: rows times the longest sequence, so that padding can be measured.
        layers: earlier layers whose vectors are wanted beside the last one's.
        projected: the vectors are wanted with their projections behind them.
    """

    features: dict[str, Any]
    indices: Tensor
    cost: Cost
    padded_tokens: int = 0
    layers: tuple[int, ...] = ()
    projected: bool = False

    def __len__(self) -> int:
        return int(self.indices.numel())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MicroBatch:
        """A copy whose tensors live on ``device``."""
        import torch

        moved = {
            name: value.to(device, non_blocking=non_blocking) if isinstance(value, torch.Tensor) else value
            for name, value in self.features.items()
        }
        return replace(self, features=moved)


@dataclass
class Batch:
    """Rows of a dataset as items and indices into them.

    Attributes:
        micro_batches: every item exactly once, in planned order. May be lazy; may be iterated twice.
        keys_N: (N,) long, content key of each item; equal for equal content (roles and prompts aside).
        columns_BC: (B, C) long, item index per cell, -1 where the cell is absent.
        roles: role of each column, "query" or "document".
        column_names: dataset column per column.
        targets: label or score tensors by name, first dimension B.
        rows: dataset row numbers, for messages.
        identities_N: (N,) long, equal for items of equal content, role and prompt, in this batch and in
            others; None where nobody asks.
        scored: the rows whose share of the loss this process computes, where the batch holds those of all
            processes; None for all rows.
        dataset: the name of the rows' dataset, where the run has several.
        guide_NG: (N, G) a guide model's vector of each item, for losses that look for false negatives; else None.
        layers: earlier layers whose vectors stand behind those of the last one, for losses that train them.
        projected: dimension of a teacher's space, whose vectors stand behind all of these; 0 for none.
    """

    micro_batches: Sequence[MicroBatch]
    keys_N: Tensor
    columns_BC: Tensor
    roles: tuple[str, ...]
    column_names: tuple[str, ...] = ()
    targets: dict[str, Tensor] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    identities_N: Tensor | None = None
    scored: slice | None = None
    dataset: str = ""
    guide_NG: Tensor | None = None
    layers: tuple[int, ...] = ()
    projected: int = 0

    @staticmethod
    def empty() -> Batch:
        """A batch without rows or items."""
        import torch

        none = torch.zeros(0, dtype=torch.long)
        return Batch((), none, none.reshape(0, 1), roles=("query",), identities_N=none)

    @property
    def num_items(self) -> int:
        return int(self.keys_N.numel())

    @property
    def num_rows(self) -> int:
        return int(self.columns_BC.shape[0])


@dataclass(frozen=True)
class Embeddings:
    """Vectors of N items: ``values`` (N, D), or (N, T, D) with ``mask`` (N, T) for multi-vector models.

    Indexing, ``len``, ``numpy.asarray`` and iteration work as on an array of N vectors.

    Attributes:
        values: the vectors.
        mask: which positions hold one.
        beside: further vectors of the same items, side by side, which a loss has asked for: those of
            `Batch.layers`, then those in the teacher's space. Nothing but losses looks at them.
    """

    values: Tensor
    mask: Tensor | None = None
    beside: Tensor | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __getitem__(self, index: Any) -> Embeddings:
        """Rows ``index`` (int, slice, list, tensor or array); always an Embeddings, an int gives N = 1."""
        import torch

        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.values.device)
            index = index.reshape(1) if index.ndim == 0 else index
        return Embeddings(self.values[index], None if self.mask is None else self.mask[index])

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    @property
    def dim(self) -> int:
        return int(self.values.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def numpy(self) -> np.ndarray:
        """float32 NumPy array on the CPU (integer vectors keep their type)."""
        values = self.values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()

    def to(self, *args: Any, **kwargs: Any) -> Embeddings:
        mask = None if self.mask is None else self.mask.to(self.values.to(*args, **kwargs).device)
        return Embeddings(self.values.to(*args, **kwargs), mask)

    def normalize(self) -> Embeddings:
        """Unit-length vectors; a zero vector stays zero."""
        from torch.nn.functional import normalize

        return Embeddings(normalize(self.values, p=2, dim=-1), self.mask)

    def truncate(self, dim: int, *, normalize: bool = False) -> Embeddings:
        """The first ``dim`` components (Matryoshka prefix), renormalised if asked."""
        if not 1 <= dim <= self.dim:
            from sightline.errors import InputError

            raise InputError(f"cannot truncate {self.dim}-dimensional embeddings to {dim}")
        cut = Embeddings(self.values[..., :dim], self.mask)
        return cut.normalize() if normalize else cut

    def quantize(self, precision: Precision, *, ranges: Tensor | None = None) -> Embeddings:
        """Vectors at lower precision.

        ``float16``; ``int8``/``uint8`` scale each dimension linearly over ``ranges`` (2, D) of minima and
        maxima, by default those of these vectors; ``binary``/``ubinary`` keep the sign bit, packed eight
        to a byte (int8 offset by 128, or uint8), as ST's ``quantize_embeddings`` does.
        """
        import numpy as np
        import torch

        values = self.values.detach().cpu().float()
        if precision == "float32":
            return Embeddings(values, self.mask)
        if precision == "float16":
            return Embeddings(values.half(), self.mask)
        if precision in ("int8", "uint8"):
            flat = values.reshape(-1, values.shape[-1])
            low, high = (flat.amin(0), flat.amax(0)) if ranges is None else (ranges[0], ranges[1])
            steps = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
            scaled = ((values - low) / steps).clamp(0, 255)
            if precision == "uint8":
                return Embeddings(scaled.to(torch.uint8), self.mask)
            return Embeddings((scaled - 128).to(torch.int8), self.mask)
        packed = np.packbits((values.numpy() > 0), axis=-1)
        if precision == "ubinary":
            return Embeddings(torch.from_numpy(packed), self.mask)
        return Embeddings(torch.from_numpy((packed.astype(np.int16) - 128).astype(np.int8)), self.mask)

    def tokens(self) -> list[Tensor]:
        """The token vectors (t, D) of each item, without padding.

        Raises:
            InputError: one vector per item.
        """
        if self.mask is None:
            from sightline.errors import InputError

            raise InputError("these embeddings have one vector per item, so there are no token vectors")
        mask = self.mask.bool()
        return [values[real] for values, real in zip(self.values, mask, strict=True)]

    def compact(self) -> Embeddings:
        """Real tokens first, in order, and no padding beyond the longest item; single vectors as they are."""
        return self if self.mask is None else Embeddings.ragged(self.tokens())

    @staticmethod
    def ragged(tokens: Sequence[Tensor]) -> Embeddings:
        """Multi-vector embeddings out of the token vectors (t, D) of each item; zeros where there is no token."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        if not tokens:
            raise ValueError("nothing to put together")
        values = pad_sequence(list(tokens), batch_first=True)
        lengths = torch.tensor([len(one) for one in tokens], device=values.device)
        return Embeddings(values, torch.arange(values.shape[1], device=values.device) < lengths[:, None])

    @staticmethod
    def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
        """All rows of ``parts`` in order; multi-vector parts are padded to the longest."""
        import torch
        from torch.nn.functional import pad

        if not parts:
            raise ValueError("nothing to concatenate")
        if parts[0].mask is None:
            return Embeddings(torch.cat([part.values for part in parts]))
        longest = max(part.values.shape[1] for part in parts)
        values = [pad(part.values, (0, 0, 0, longest - part.values.shape[1])) for part in parts]
        masks = [pad(part.mask, (0, longest - part.mask.shape[1])) for part in parts if part.mask is not None]
        return Embeddings(torch.cat(values), torch.cat(masks))
