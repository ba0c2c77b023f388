"""One vector per page out of its token vectors, whose dot product with a query's stands in for MaxSim.

Fixed dimensional encodings (MUVERA: Dhulipala, Hadian, Jayaram, Lee and Mirrokni 2024, arXiv:2405.19504): random
planes cut the space of tokens into cells. A query's tokens are summed per cell, a document's averaged; the cells stand
side by side, so that tokens are compared within their cell alone, which is where their best match most often lies.
A cell in which a document has no token takes its nearest token's vector. Several independent cuttings make up for
those near a plane, and random signs fold each cell's components to fewer.

Shape letters: n pages, T tokens, t tokens of one page, D components, P planes, C cells (2**P), R cuttings,
F components of a folded cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sightline.types import Embeddings

if TYPE_CHECKING:
    from torch import Tensor

POOLED = "pooled"
_SEED = 2405


@dataclass(frozen=True)
class Pooling:
    """A fixed way from token vectors to one vector, the same for every index of this dimension.

    Attributes:
        dim: components of a token vector.
        planes: that cut the space, per cutting.
        cuttings: independent ones.
        folded: components that a cell is folded to; never more than ``dim``.
    """

    dim: int
    planes: int = 4
    cuttings: int = 8
    folded: int = 16

    @property
    def width(self) -> int:
        """Components of the pooled vector."""
        return self.cuttings * 2**self.planes * min(self.folded, self.dim)

    def documents(self, tokens: Embeddings) -> Embeddings:
        """(n, `width`) of pages' token vectors (n, T, D) with a mask."""
        import torch

        found = [self._document(tokens_tD) for tokens_tD in tokens.tokens()]
        return Embeddings(torch.stack(found) if found else torch.zeros(0, self.width))

    def query(self, tokens_tD: Tensor) -> Tensor:
        """(`width`,) of a query's token vectors."""
        import torch

        parts = []
        for planes_DP, fold_DF in self._cuttings:
            cell_t = self._cells(tokens_tD, planes_DP)
            sums_CD = torch.zeros(2**self.planes, self.dim).index_add_(0, cell_t, tokens_tD)
            parts.append((sums_CD @ fold_DF).flatten())
        return torch.cat(parts)

    def _document(self, tokens_tD: Tensor) -> Tensor:
        import torch

        if not len(tokens_tD):
            return torch.zeros(self.width)
        bits_CP = self._bits
        parts = []
        for planes_DP, fold_DF in self._cuttings:
            side_tP = (tokens_tD @ planes_DP > 0).float()
            cell_t = self._cells(tokens_tD, planes_DP)
            count_C = torch.bincount(cell_t, minlength=len(bits_CP))
            mean_CD = torch.zeros(len(bits_CP), self.dim).index_add_(0, cell_t, tokens_tD)
            mean_CD /= count_C.clamp_min(1)[:, None]
            # On how many planes' wrong side each token lies, seen from a cell.
            away_Ct = torch.cdist(bits_CP, side_tP, p=1)
            nearest_CD = tokens_tD[away_Ct.argmin(1)]
            filled_CD = torch.where(count_C[:, None] > 0, mean_CD, nearest_CD)
            parts.append((filled_CD @ fold_DF).flatten())
        return torch.cat(parts)

    def _cells(self, tokens_tD: Tensor, planes_DP: Tensor) -> Tensor:
        import torch

        return ((tokens_tD @ planes_DP > 0).long() << torch.arange(self.planes)).sum(1)

    @cached_property
    def _bits(self) -> Tensor:
        import torch

        return ((torch.arange(2**self.planes)[:, None] >> torch.arange(self.planes)) & 1).float()

    @cached_property
    def _cuttings(self) -> list[tuple[Tensor, Tensor]]:
        """Planes (D, P) and folding (D, F) of each cutting; from NumPy's generator, whose numbers never change."""
        import numpy as np
        import torch

        random = np.random.Generator(np.random.PCG64(_SEED))
        folded = min(self.folded, self.dim)
        found = []
        for _ in range(self.cuttings):
            planes_DP = random.standard_normal((self.dim, self.planes)).astype(np.float32)
            if folded == self.dim:
                fold_DF = np.eye(self.dim, dtype=np.float32)
            else:
                signs = random.integers(0, 2, (self.dim, folded)).astype(np.float32) * 2 - 1
                fold_DF = signs / np.float32(folded) ** 0.5
            found.append((torch.from_numpy(planes_DP), torch.from_numpy(fold_DF)))
        return found
