"""Vectors in the form the index compares them in.

Shape letters: N vectors, D components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.errors import SearchIndexError

if TYPE_CHECKING:
    import numpy as np


def stored_form(vectors_ND: np.ndarray, dim: int, similarity: str) -> np.ndarray:
    """Vectors (N, >= D) as the index compares them: (N, D) float32.

    Cosine: the prefix at unit length. Others: as given, or, for a prefix, at the whole vector's length. A
    zero vector stays zero.

    Raises:
        SearchIndexError: the vectors have fewer than ``dim`` components.
    """
    import numpy as np

    if vectors_ND.shape[-1] < dim:
        raise SearchIndexError(
            f"the model gives {vectors_ND.shape[-1]} components, the index holds {dim}; "
            f"load the model without truncate_dim"
        )
    vectors_ND = vectors_ND.astype(np.float32)
    prefix_ND = vectors_ND[..., :dim]
    if similarity != "cosine" and dim == vectors_ND.shape[-1]:
        return prefix_ND
    lengths_N1 = np.linalg.norm(prefix_ND, axis=-1, keepdims=True)
    target = 1.0 if similarity == "cosine" else np.linalg.norm(vectors_ND, axis=-1, keepdims=True)
    return prefix_ND * (target / np.where(lengths_N1 > 0, lengths_N1, 1.0)).astype(np.float32)
