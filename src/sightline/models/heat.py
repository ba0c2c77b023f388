"""Where on a page its score comes from: similarities of its tokens, gradients of its pixels, or blanked tiles.

Shape letters: H, W rows and columns of a grid; Q tokens of the query; T tokens of the page; N tiles; D components.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.inputs.pixels import PIXELS
from sightline.models.boxes import Box, laid_out, page_grid
from sightline.models.page_scores import EncoderScores, PageScores
from sightline.models.page_views import pixel_cells, token_views
from sightline.modules.modes import evaluating


@dataclass(frozen=True)
class Evidence:
    """What a model's score of a page owes to its places.

    Attributes:
        values_HW: float64, in the unit of the score; laid over the page from the upper left, NaN where the model does
            not look.
        score: the page's.
        passes: pages that went through the model for it.
    """

    values_HW: np.ndarray
    score: float
    passes: int


def token_evidence(scores: EncoderScores, page: Any, *, width: int, height: int) -> Evidence:
    """The mean over the query's tokens of their similarity with the image token at each place of the page.

    It is what MaxSim takes the best of (ColPali's maps, Faysse et al. 2024, arXiv:2407.01449, section 5). Where a model
    sees the page at several scales, a place has the best of the tokens over it, as MaxSim would.

    Args:
        scores: of a late-interaction model.
        page: a dict with an image.
        width, height: of the image.

    Raises:
        ConfigError: it is not known how the model lays its tokens out.
        InputError, MediaError: the page cannot be read.
    """
    with torch.inference_mode(), evaluating(scores.model):
        batch = scores.micro_batch(page)
        embedded = scores.embed(batch)
        backbone = scores.backbone(batch)
        page_TD = embedded.values[0].float()
        views = token_views(backbone, batch.features, len(page_TD), width=width, height=height)
        asked_QD = scores.query.truncate(scores.width).tokens()[0].to(page_TD.device).float()
        found_QT = (asked_QD @ page_TD.T).double().cpu().numpy()
        score = float(scores.score(batch)[0])
    first = views[0]
    rows, columns = page_grid((first.positions_HW.shape[0], first.positions_HW.shape[1]), first.box)
    layers_QHW = []
    for view in views:
        places_HW = view.positions_HW.cpu().numpy()
        layers_QHW.append(
            np.stack([laid_out(one_T[places_HW], view.box, rows, columns) for one_T in found_QT])
        )
    best_QHW = np.fmax.reduce(layers_QHW)
    return Evidence(best_QHW.mean(0), score, 1)


def gradient_evidence(
    scores: PageScores, page: Any, blank: Any, *, width: int, height: int, steps: int = 8
) -> Evidence | None:
    """Integrated gradients of the score by the page's pixels, from a blank page on, added up patch by patch.

    ``(x - b) * mean over k of  dS/dx at  b + (k - 1/2) / steps * (x - b)`` with the page's pixels x and a blank
    page's b: Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365), equation 1.
    The values add up to what the page's image gives over a blank one, the better the more steps.

    Args:
        scores: the model and the question.
        page: a dict with an image; what else it holds stays as it is.
        blank: the same with a blank image of the same size.
        width, height: of the image.
        steps: forward and backward passes.

    Returns:
        None where it is not known how the model's pixels lie on the page, or where it does not take them as numbers of
        one shape.

    Raises:
        InputError, MediaError: the page cannot be read.
    """
    with evaluating(scores.model):
        batch, empty = scores.micro_batch(page), scores.micro_batch(blank)
        prefix, processor = scores.images(batch)
        name = prefix + PIXELS
        there, absent = batch.features.get(name), empty.features.get(name)
        if not isinstance(there, Tensor) or not isinstance(absent, Tensor) or there.shape != absent.shape:
            return None
        own = {key.removeprefix(prefix): value for key, value in batch.features.items()}
        if pixel_cells(processor, own, torch.zeros(there.shape), width=width, height=height) is None:
            return None
        start = absent.float()
        way = there.float() - start
        total = torch.zeros_like(way)
        for step in range(steps):
            pixels = (start + (step + 0.5) / steps * way).requires_grad_()
            with torch.enable_grad():
                batch.features[name] = pixels
                score = scores.score(batch)[0]
                (gradient,) = torch.autograd.grad(score, pixels)
            total += gradient.float().cpu()
        batch.features[name] = there
        with torch.inference_mode():
            whole = float(scores.score(batch)[0])
    cells = pixel_cells(processor, own, way * total / steps, width=width, height=height)
    assert cells is not None
    values_HW, box = cells
    laid = laid_out(values_HW, box, *page_grid((values_HW.shape[0], values_HW.shape[1]), box))
    return Evidence(laid, whole, 2 * steps + 1)


def tile_grid(width: int, height: int, tiles: int = 48) -> tuple[int, int]:
    """Rows and columns of at most ``tiles`` tiles over a page, as nearly square as there are.

    Raises:
        ConfigError: fewer than one tile.
    """
    if tiles < 1:
        raise ConfigError(f"a heat map needs at least 1 tile, not {tiles}")
    best = (1, tiles)
    for rows in range(1, tiles + 1):
        columns = tiles // rows
        tile, other = (math.log((width / c) / (height / r)) for r, c in ((rows, columns), best))
        if abs(tile) < abs(other):
            best = (rows, columns)
    return best


def tile_evidence(
    scores: PageScores, page: Any, without: Callable[[Box], Any], grid: tuple[int, int]
) -> Evidence:
    """What the score loses when a tile of the page is blanked, tile by tile (occlusion).

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (arXiv:1311.2901), section 4.2.

    Args:
        scores: the model and the question.
        page: as the model reads it.
        without: the page with a rectangle of it blanked.
        grid: rows and columns; the model reads ``rows * columns + 1`` pages.

    Raises:
        InputError, MediaError: the page cannot be read.
    """
    rows, columns = grid
    boxes = [
        Box(column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
        for row in range(rows)
        for column in range(columns)
    ]
    found = scores.scores([page, *(without(box) for box in boxes)]).astype(np.float64)
    return Evidence((found[0] - found[1:]).reshape(rows, columns), float(found[0]), len(found))


def similarities_shown(evidence: Evidence) -> np.ndarray:
    """Similarities as a map (H, W) float32: 1 at the most alike place, 0 at the median one of the page and below.

    Every place is alike to a question in some degree; what counts is how it stands out.
    """
    values = evidence.values_HW
    low, high = np.nanmedian(values), np.nanmax(values)
    shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.clip(np.nan_to_num(shown), 0, 1).astype(np.float32)


def contributions_shown(evidence: Evidence) -> np.ndarray:
    """Contributions as a map (H, W) float32: 1 for the largest, 0 for none and for those that speak against."""
    values = np.clip(np.nan_to_num(evidence.values_HW), 0, None)
    high = values.max()
    return (values / high if high > 0 else values).astype(np.float32)
