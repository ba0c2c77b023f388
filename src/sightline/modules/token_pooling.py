"""Fewer token vectors per document: like ones are replaced by their mean.

Shape letters: n items, T tokens, t tokens of one item, D dimension, c clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import ConfigError
from sightline.modules.base import Module
from sightline.types import Embeddings


class TokenPooling(Module):
    """Hierarchical token pooling (Clavié et al. 2024, arXiv:2409.14683).

    The token vectors of a document are clustered by Ward's method on their cosine distances into one cluster for
    every ``factor`` tokens, and each cluster becomes its mean, brought to unit length. With a factor of 2 or 3 an
    index shrinks to a half or a third and loses little. sentence-transformers' HierarchicalTokenPooling, to the
    number. Expects unit vectors.

    It stands at the end of a model's parts, or is applied to vectors that are there already (`pool`).

    Args:
        factor: tokens per cluster, 1 or more; 1 changes nothing.
        protected: tokens at the start that stay as they are (the ``[CLS]`` and such).
        normalize: brings the result to unit length.
        tasks: which items are pooled: "document" (also those without a role), "query".

    Raises:
        ConfigError: a factor below 1 or a negative number of protected tokens; scipy is not installed.
    """

    kind: ClassVar[str] = "token_pooling"

    def __init__(
        self,
        factor: float = 1.0,
        *,
        protected: int = 1,
        normalize: bool = True,
        tasks: Sequence[str] = ("document",),
    ) -> None:
        super().__init__()
        if factor < 1 or protected < 0:
            raise ConfigError(
                f"token pooling needs a factor of 1 or more, not {factor}, and 0 or more protected tokens, "
                f"not {protected}"
            )
        self.factor, self.protected, self.normalize = factor, protected, normalize
        self.tasks = tuple(tasks)
        if factor > 1:
            _scipy()

    def facts(self) -> dict[str, Any]:
        return {
            "pool_factor": self.factor,
            "num_protected_tokens": self.protected,
            "normalize_embeddings": self.normalize,
            "tasks": list(self.tasks),
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        tokens_nTD, mask_nT = features["token_embeddings"], features["attention_mask"].bool()
        is_query = features.get("is_query")
        queries = [False] * len(tokens_nTD) if is_query is None else is_query.tolist()
        pooled = [
            self._one(tokens_TD[mask_T])
            if ("query" if query else "document") in self.tasks
            else tokens_TD[mask_T]
            for tokens_TD, mask_T, query in zip(tokens_nTD, mask_nT, queries, strict=True)
        ]
        found = Embeddings.ragged(pooled)
        features["token_embeddings"], features["attention_mask"] = found.values, found.mask
        return features

    def pool(self, embeddings: Embeddings, *, role: str | None = None) -> Embeddings:
        """The embeddings with fewer tokens.

        Args:
            embeddings: (n, T, D) with their mask.
            role: what they were embedded as; None counts as "document".

        Raises:
            ConfigError: one vector per item.
        """
        if embeddings.mask is None:
            raise ConfigError("these embeddings have one vector per item, so there are no tokens to pool")
        if (role or "document") not in self.tasks:
            return embeddings
        return Embeddings.ragged([self._one(tokens_tD) for tokens_tD in embeddings.tokens()])

    def _one(self, tokens_tD: Tensor) -> Tensor:
        rest_tD = tokens_tD[self.protected :]
        clusters = max(int(len(rest_tD) // self.factor), 1)
        if clusters < len(rest_tD):
            tokens_tD = torch.cat([tokens_tD[: self.protected], _means(rest_tD, clusters)])
        if not self.normalize:
            return tokens_tD
        low = tokens_tD.dtype in (torch.float16, torch.bfloat16)
        return normalize(tokens_tD.float() if low else tokens_tD, dim=-1).to(tokens_tD.dtype)


def _means(tokens_tD: Tensor, clusters: int) -> Tensor:
    """(c, D) means of Ward clusters of the tokens; the clusters are numbered as scipy does."""
    hierarchy, squareform = _scipy()
    # Who belongs together is a choice without gradient; the means have one.
    plain_tD = tokens_tD.detach().float().cpu()
    distance_tt = (1 - plain_tD @ plain_tD.t()).clamp_(0, 2).numpy()
    tree = hierarchy.linkage(squareform(distance_tt, checks=False), method="ward")
    labels = torch.from_numpy(hierarchy.fcluster(tree, t=clusters, criterion="maxclust"))
    # Ties may leave fewer clusters than were asked for.
    _, cluster_t, count_c = torch.unique(labels, return_inverse=True, return_counts=True)
    cluster_t, count_c = cluster_t.to(tokens_tD.device), count_c.to(tokens_tD.device)
    sums_cD = tokens_tD.new_zeros(len(count_c), tokens_tD.shape[1]).index_add(0, cluster_t, tokens_tD)
    return sums_cD / count_c[:, None]


def _scipy() -> tuple[Any, Any]:
    try:
        from scipy.cluster import hierarchy
        from scipy.spatial.distance import squareform
    except ImportError as error:
        raise ConfigError(
            "token pooling needs scipy: pip install 'sightline[late]', or leave the pooling out"
        ) from error
    return hierarchy, squareform
