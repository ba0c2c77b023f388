"""Distances and similarities between vectors, pair by pair or all with all.

Shape letters::

    P  pairs     N  vectors     D  embedding dimension
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from sightline.errors import ConfigError

Distance = Literal["cosine", "euclidean", "manhattan"]
DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean", "manhattan")


def check_distance(distance: str, loss: str) -> None:
    """Raises ConfigError for a name that is none of `DISTANCES`."""
    if distance not in DISTANCES:
        raise ConfigError(f"{loss} knows the distances {', '.join(DISTANCES)}, not {distance!r}")


def pair_distances(left_PD: Tensor, right_PD: Tensor, distance: Distance) -> Tensor:
    """(P,) distances; cosine distance is one minus the cosine. Equal vectors have a gradient of zero."""
    if distance == "cosine":
        return 1 - cosine_similarity(left_PD, right_PD)
    difference_PD = left_PD - right_PD
    return difference_PD.norm(dim=1) if distance == "euclidean" else difference_PD.abs().sum(1)


def all_distances(values_ND: Tensor, distance: Distance) -> Tensor:
    """(N, N) distances of all vectors from all; zero on the diagonal, with a gradient of zero there."""
    if distance == "cosine":
        unit_ND = normalize(values_ND, dim=1)
        distances_NN = 1 - unit_ND @ unit_ND.t()
    elif distance == "euclidean":
        squared_N = values_ND.square().sum(1)
        squared_NN = (squared_N[:, None] + squared_N[None, :] - 2 * values_ND @ values_ND.t()).clamp_min(0)
        # The root's slope at zero is infinite: equal vectors are taken out before and put back after.
        equal_NN = squared_NN == 0
        distances_NN = squared_NN.masked_fill(equal_NN, 1.0).sqrt().masked_fill(equal_NN, 0.0)
    else:
        distances_NN = torch.cdist(values_ND, values_ND, p=1)
    return distances_NN.masked_fill(torch.eye(len(values_ND), dtype=torch.bool, device=values_ND.device), 0.0)
