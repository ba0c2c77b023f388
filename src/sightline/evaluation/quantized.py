"""Indexes that keep vectors at lower precision and search them exactly, a block of documents at a time.

Each holds the documents of a corpus as its `Storage` says, and nothing else; vectors that are compared by their angle
are brought to unit length before they are stored, as an index does. Ties go to the lower document index.

Shape letters::

    q  queries   N  documents   D  dimension   B  bytes of packed bits   W  64-bit words of packed bits
    K  results per query        C  candidates of a query that are put into a new order      T  tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sightline.errors import ConfigError
from sightline.evaluation.ranking import search_top_k
from sightline.evaluation.storage import RESCORED, Storage
from sightline.evaluation.token_search import search_tokens
from sightline.types import Embeddings

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 2**13
# Up to so many queries bits are counted; more are faster as products of signs.
_COUNTED = 8
# Numbers of candidates that are decoded at once.
_AT_ONCE = 2**24


class Index(Protocol):
    """Documents that can be searched."""

    @property
    def nbytes(self) -> int:
        """What the stored vectors take."""
        ...

    def search(self, queries: Embeddings, k: int) -> Tensor:
        """(q, K) int64 indices of the ``k`` best documents of each query, best first."""
        ...


def index_of(documents: Embeddings, storage: Storage, similarity: str, *, rescored: int = RESCORED) -> Index:
    """The documents, kept as ``storage`` says.

    Args:
        documents: (N, D) vectors, or (N, T, D) token vectors.
        storage: dimension and precision.
        similarity: of the model.
        rescored: candidates that precisions with "+" put into a new order.

    Raises:
        ConfigError: a dimension beyond the vectors', or rescoring of token vectors.
    """
    if not 1 <= storage.dim <= documents.dim:
        raise ConfigError(f"dimension {storage.dim} must lie in the model's {documents.dim} dimensions")
    if documents.mask is not None:
        return TokenIndex(documents, storage, similarity)
    if storage.precision.startswith("binary"):
        return BinaryIndex(documents, storage, similarity, rescored=rescored)
    return NumberIndex(documents, storage, similarity)


class NumberIndex:
    """float32, float16 or int8."""

    def __init__(self, documents: Embeddings, storage: Storage, similarity: str) -> None:
        self.storage, self.unit = storage, similarity == "cosine"
        self.similarity = "dot" if self.unit else similarity
        self.vectors = _stored(documents, storage.dim, storage.precision, unit=self.unit)

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes

    def search(self, queries: Embeddings, k: int) -> Tensor:
        asked = prefix(queries, self.storage.dim, unit=self.unit)
        return search_top_k(asked.values, self.vectors, k, similarity=self.similarity)[
            self.storage.dim
        ].indices


class BinaryIndex:
    """The signs of the vectors, searched by Hamming distance; with "+", the best are put into a better order."""

    def __init__(self, documents: Embeddings, storage: Storage, similarity: str, *, rescored: int) -> None:
        self.storage, self.rescored = storage, rescored
        self.bits = Bits.of(documents, storage.dim)
        self.unit = similarity == "cosine"
        self.better: Codes | Bits | None = None
        self.similarity = "dot"
        if storage.precision == "binary+query":
            self.better = self.bits
        elif storage.precision == "binary+int8":
            self.better = Codes.of(documents, storage.dim, unit=self.unit)
            self.similarity = "dot" if self.unit else similarity

    @property
    def nbytes(self) -> int:
        return self.bits.nbytes + (self.better.nbytes if isinstance(self.better, Codes) else 0)

    def search(self, queries: Embeddings, k: int) -> Tensor:
        import torch

        wanted = k if self.better is None else max(k, self.rescored)
        asked = Bits.of(queries, self.storage.dim)
        if len(queries) <= _COUNTED:
            found_qK = torch.stack([self.bits.nearest(row, wanted) for row in asked.packed_NB])
        else:
            signs_qD = asked[0 : len(asked)]
            found_qK = search_top_k(signs_qD, self.bits, wanted, similarity="dot")[self.storage.dim].indices
        if self.better is not None:
            vectors = prefix(queries, self.storage.dim, unit=self.unit).values
            found_qK = _reordered(vectors, self.better, found_qK, self.rescored, self.similarity)
        return found_qK[:, :k]


class TokenIndex:
    """Token vectors at a precision; compared by MaxSim, of binary ones between the signs of both sides."""

    def __init__(self, documents: Embeddings, storage: Storage, similarity: str) -> None:
        if "+" in storage.precision:
            raise ConfigError(
                f"token vectors are not rescored, so '{storage.precision}' is not for this model; use 'binary'"
            )
        import torch

        assert documents.mask is not None
        self.storage, self.similarity = storage, similarity
        mask = documents.mask.bool()
        self.nbytes = int(mask.sum()) * storage.bytes_per_vector
        flat = Embeddings(self._cut(documents).values[mask])
        stored = (
            Bits.of(flat, storage.dim)
            if storage.precision == "binary"
            else _stored(flat, storage.dim, storage.precision, unit=False)
        )
        values = torch.zeros(*documents.shape[:2], storage.dim)
        values[mask] = _all_rows(stored).float()
        self.documents = Embeddings(values, documents.mask)

    def search(self, queries: Embeddings, k: int) -> Tensor:
        import torch

        asked = self._cut(queries)
        if self.storage.precision == "binary":
            asked = Embeddings(torch.where(asked.values > 0, 1.0, -1.0), asked.mask)
        return search_tokens(asked, self.documents, k, similarity=self.similarity)[self.storage.dim].indices

    def _cut(self, tokens: Embeddings) -> Embeddings:
        return tokens if self.storage.dim == tokens.dim else tokens.truncate(self.storage.dim, normalize=True)


class Codes:
    """int8 vectors; reading gives float32, the middle of what was rounded to each code.

    Args:
        codes_ND: int8.
        ranges_2D: least and greatest value of each dimension.
    """

    def __init__(self, codes_ND: Tensor, ranges_2D: Tensor) -> None:
        self.codes_ND = codes_ND
        self.low_D, self.step_D = ranges_2D[0], (ranges_2D[1] - ranges_2D[0]) / 255

    @staticmethod
    def of(vectors: Embeddings, dim: int, *, unit: bool) -> Codes:
        """The vectors in int8, between the least and greatest value of each dimension among them."""
        import torch

        pieces = [
            prefix(vectors[start : start + _ROWS], dim, unit=unit) for start in range(0, len(vectors), _ROWS)
        ]
        ranges_2D = wider_ranges([piece.values for piece in pieces])
        return Codes(
            torch.cat([piece.quantize("int8", ranges=ranges_2D).values for piece in pieces]), ranges_2D
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes_ND.shape)

    @property
    def nbytes(self) -> int:
        return int(self.codes_ND.nbytes)

    def __len__(self) -> int:
        return len(self.codes_ND)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        codes_ND = self.codes_ND[rows].float()
        # Codes are cut towards zero (see `Embeddings.quantize`), so what a code stands for lies beyond it.
        return (codes_ND + 0.5 * codes_ND.sign() + 128) * self.step_D + self.low_D

    def products(self, queries_qD: Tensor) -> Tensor:
        """(q, N) dot products with float32 queries, without making floats of the codes first."""
        middle_ND = self.codes_ND.float().add_(self.codes_ND.sign(), alpha=0.5)
        constant_q1 = queries_qD @ (128 * self.step_D + self.low_D)[:, None]
        return (queries_qD * self.step_D) @ middle_ND.t() + constant_q1


class Bits:
    """Signs, eight to a byte; reading gives them as 1.0 and -1.0.

    Args:
        packed_NB: uint8.
        dim: how many bits of each row count.
    """

    def __init__(self, packed_NB: np.ndarray, dim: int) -> None:
        self.packed_NB, self.dim = packed_NB, dim

    @staticmethod
    def of(vectors: Embeddings, dim: int) -> Bits:
        """The signs of the first ``dim`` components; what is not above zero counts as below."""
        packed = [
            vectors[start : start + _ROWS].truncate(dim).quantize("ubinary").numpy()
            for start in range(0, len(vectors), _ROWS)
        ]
        return Bits(np.concatenate(packed), dim)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.packed_NB), self.dim

    @property
    def nbytes(self) -> int:
        return int(self.packed_NB.nbytes)

    def __len__(self) -> int:
        return len(self.packed_NB)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        import torch

        packed = self.packed_NB[rows if isinstance(rows, slice) else rows.numpy()]
        bits = np.unpackbits(packed, axis=-1, count=self.dim)
        return torch.from_numpy(bits).float().mul_(2).sub_(1)

    def distances(self, query_B: np.ndarray) -> np.ndarray:
        """(N,) int32: in how many bits each row differs from the query."""
        distance_N = np.empty(len(self), dtype=np.int32)
        for start in range(0, len(self), _ROWS):
            differing = np.bitwise_xor(self.packed_NB[start : start + _ROWS], query_B)
            distance_N[start : start + _ROWS] = np.bitwise_count(_words(differing)).sum(1, dtype=np.int32)
        return distance_N

    def nearest(self, query_B: np.ndarray, k: int) -> Tensor:
        """(K,) indices of the rows that differ from the query in the fewest bits."""
        import torch

        distance_N = self.distances(query_B)
        k = min(k, len(self))
        last = np.partition(distance_N, k - 1)[k - 1]
        near = np.flatnonzero(distance_N <= last)
        return torch.from_numpy(near[np.argsort(distance_N[near], kind="stable")][:k])


def _words(packed_NB: np.ndarray) -> np.ndarray:
    """The bytes as 64-bit words where they fill some, which are counted eight times as fast."""
    return packed_NB.view(np.uint64) if packed_NB.shape[1] % 8 == 0 else packed_NB


class _Numbers:
    """A float tensor, read as it is."""

    def __init__(self, values_ND: Tensor) -> None:
        self.values_ND = values_ND

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values_ND.shape)

    @property
    def nbytes(self) -> int:
        return int(self.values_ND.nbytes)

    def __len__(self) -> int:
        return len(self.values_ND)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self.values_ND[rows]


def _stored(vectors: Embeddings, dim: int, precision: str, *, unit: bool) -> _Numbers | Codes:
    import torch

    if precision == "int8":
        return Codes.of(vectors, dim, unit=unit)
    half = precision == "float16"
    kept = torch.empty(len(vectors), dim, dtype=torch.float16 if half else torch.float32)
    for start in range(0, len(vectors), _ROWS):
        kept[start : start + _ROWS] = prefix(vectors[start : start + _ROWS], dim, unit=unit).values
    return _Numbers(kept)


def prefix(vectors: Embeddings, dim: int, *, unit: bool) -> Embeddings:
    """The first components in float32 on the CPU, at unit length where only the angle counts."""
    return Embeddings(vectors.values.detach().cpu().float()).truncate(dim, normalize=unit)


def wider_ranges(pieces: Sequence[Tensor]) -> Tensor:
    """(2, D) least and greatest value of each dimension among pieces (n, D)."""
    import torch

    return torch.stack(
        [
            torch.stack([piece.amin(0) for piece in pieces]).amin(0),
            torch.stack([piece.amax(0) for piece in pieces]).amax(0),
        ]
    )


def _all_rows(vectors: _Numbers | Codes | Bits) -> Tensor:
    return vectors[0 : len(vectors)]


def _reordered(
    queries_qD: Tensor, vectors: Codes | Bits, found_qK: Tensor, moved: int, similarity: str
) -> Tensor:
    """``found_qK`` with the first ``moved`` of each query in the order of ``vectors``; ties to the lower index."""
    import torch

    moved = min(moved, found_qK.shape[1])
    # By index first: sorting by score is stable.
    candidates_qC = found_qK[:, :moved].sort(dim=1).values
    step = max(1, _AT_ONCE // (moved * vectors.shape[1]))
    ordered = []
    for start in range(0, len(queries_qD), step):
        some_qC = candidates_qC[start : start + step]
        values_qCD = vectors[some_qC.flatten()].unflatten(0, some_qC.shape)
        scores_qC = pair_scores(queries_qD[start : start + step], values_qCD, similarity)
        ordered.append(some_qC.gather(1, scores_qC.argsort(dim=1, descending=True, stable=True)))
    return torch.cat([torch.cat(ordered), found_qK[:, moved:]], 1)


def pair_scores(queries_qD: Tensor, values_qCD: Tensor, similarity: str) -> Tensor:
    """(q, C) similarity of each query with its own candidates."""
    import torch

    if similarity == "dot":
        return torch.einsum("qd,qcd->qc", queries_qD, values_qCD)
    return -(queries_qD[:, None] - values_qCD).norm(p=2 if similarity == "euclidean" else 1, dim=-1)
