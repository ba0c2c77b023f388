"""Where on a page the tokens and the pixels lie that a model sees of it.

Shape letters: H, W rows and columns of a grid; T positions of a sequence; P patches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.inputs.pixels import PIXELS
from sightline.inputs.processor import ItemProcessor, part_of
from sightline.inputs.resize import GRID, FramedImages, direct_images
from sightline.models.boxes import WHOLE, Box
from sightline.modules.backbone import Backbone

_SHAPES = "spatial_shapes"  # of SigLIP 2, whose images have as many patches as fit
_TILE = re.compile(r"<row_(\d+)_col_(\d+)>")
_OVERVIEW = "<global-img>"


@dataclass(frozen=True)
class View:
    """Tokens of a page image that lie on a grid.

    Attributes:
        positions_HW: long, where in the sequence each token stands.
        box: what of the page the grid covers.
    """

    positions_HW: Tensor
    box: Box = WHOLE


def token_views(
    backbone: Backbone, features: Mapping[str, Any], tokens: int, *, width: int, height: int
) -> list[View]:
    """Where the image tokens of one page lie on it, the finest view first.

    Args:
        backbone: what made the tokens.
        features: of the page, a micro-batch of one.
        tokens: T, length of the sequence that the backbone gave.
        width, height: of the page image, in pixels.

    Raises:
        ConfigError: nobody has said how such a model lays them out, or they are not there as it should.
    """
    kind = str(backbone.model.config.model_type)
    layout = _LAYOUTS.get(kind)
    if layout is None:
        raise ConfigError(
            f"how {kind} models lay the tokens of a page out is not known here (known: {', '.join(sorted(_LAYOUTS))});"
            " use method='occlusion'"
        )
    found = layout(_Page(backbone, features, tokens, width, height))
    if not found:
        raise ConfigError(
            f"the tokens of this page do not lie as a {kind} model lays them out; use method='occlusion'"
        )
    return found


def pixel_cells(
    processor: ItemProcessor, features: Mapping[str, Any], values: Tensor, *, width: int, height: int
) -> tuple[np.ndarray, Box] | None:
    """A value per number of the pixel features, added up patch by patch: (H, W) float64 and what of the page it covers.

    Args:
        processor: what made the features.
        features: of the page, a micro-batch of one; without the prefix that fused items have.
        values: of the shape of the pixel features.
        width, height: of the page image.

    Returns:
        None where it is not known how the pixels lie.
    """
    values = values.detach().double().cpu()
    box = WHOLE
    if GRID in features and values.ndim == 3 and len(values) == 1:  # ColQwen2 keeps a row per item
        values = values[0][: int(features[GRID][0].prod())]
    if GRID in features and values.ndim == 2 and len(features[GRID]) == 1:
        _, rows, columns = features[GRID][0].tolist()
        merge = _merge(processor)
        blocks = values.sum(-1).reshape(rows // merge, columns // merge, merge, merge)
        cells_HW = blocks.permute(0, 2, 1, 3).reshape(rows, columns)
    elif _SHAPES in features and values.ndim == 3 and len(values) == 1:
        rows, columns = features[_SHAPES][0].tolist()
        cells_HW = values[0].sum(-1)[: rows * columns].reshape(rows, columns)
    elif values.ndim == 4 and len(values) == 1 and (seen := seen_box(processor, width, height)) is not None:
        box, side = seen, processor.patch_size
        rows, columns = values.shape[2] // side, values.shape[3] // side
        inside = values[0].sum(0)[: rows * side, : columns * side]
        cells_HW = inside.reshape(rows, side, columns, side).sum((1, 3))
    else:
        return None
    return cells_HW.numpy(), box


def seen_box(processor: ItemProcessor, width: int, height: int) -> Box | None:
    """What of a page image a processor of one fixed size looks at; None where that is not known."""
    framed = direct_images(_image_processor(processor))
    if isinstance(framed, FramedImages):
        crop = framed.crop
        if crop is None:
            return WHOLE
        wide, tall = framed.target(width, height)
        top, left = (tall - crop[0]) // 2, (wide - crop[1]) // 2
        return Box(left / wide, top / tall, (left + crop[1]) / wide, (top + crop[0]) / tall)
    facts = _image_processor(processor).to_dict()
    given = {name for name, value in (facts.get("size") or {}).items() if value is not None}
    cuts = any(facts.get(name) for name in ("do_center_crop", "do_pad", "do_pan_and_scan"))
    return WHOLE if given == {"height", "width"} and not cuts else None


@dataclass(frozen=True)
class _Page:
    backbone: Backbone
    features: Mapping[str, Any]
    tokens: int
    width: int
    height: int

    @property
    def image_positions(self) -> Tensor:
        """Positions of the image's tokens in the sequence."""
        facts = self.backbone.model.config.to_dict()
        nested = (facts, facts.get("vlm_config") or {})
        names = ("image_token_id", "image_token_index")
        token = next((one[name] for one in nested for name in names if one.get(name) is not None), None)
        ids_T = self.features["input_ids"][0]
        if token is None or len(ids_T) != self.tokens:
            return ids_T.new_zeros(0)
        return (ids_T == token).nonzero()[:, 0]


def _by_grid(page: _Page) -> list[View]:
    """The Qwen-VL family: as many patches as the page has, ``merge`` x ``merge`` of them a token."""
    merge = _merge(page.backbone.processor)
    places = page.image_positions
    if GRID not in page.features or len(page.features[GRID]) != 1:
        return []
    _, rows, columns = (int(side) for side in page.features[GRID][0])
    rows, columns = rows // merge, columns // merge
    return [View(places.reshape(rows, columns))] if len(places) == rows * columns else []


def _square(page: _Page) -> list[View]:
    """One square picture of the page (PaliGemma, Gemma 3, LLaVA)."""
    places = page.image_positions
    side = math.isqrt(len(places))
    box = seen_box(page.backbone.processor, page.width, page.height)
    frames = page.features[PIXELS].shape[:-3].numel()
    if not side or side * side != len(places) or frames != 1 or box is None:
        return []
    return [View(places.reshape(side, side), box)]


def _tiles(page: _Page) -> list[View]:
    """Idefics3 and its kin: the page in tiles, each behind a token that says which, and all of it once more."""
    tokenizer = page.backbone.processor.tokenizer
    assert tokenizer is not None
    names = tokenizer.convert_ids_to_tokens(page.features["input_ids"][0].tolist())
    wanted = set(page.image_positions.tolist())
    tiles: dict[tuple[int, int], list[int]] = {}
    now = (0, 0)  # the overview; tiles count from 1
    for position, name in enumerate(names):
        if name == _OVERVIEW:
            now = (0, 0)
        elif (tile := _TILE.fullmatch(name)) is not None:
            now = (int(tile[1]), int(tile[2]))
        elif position in wanted:
            tiles.setdefault(now, []).append(position)
    sizes = {len(places) for places in tiles.values()}
    side = math.isqrt(sizes.pop()) if len(sizes) == 1 else 0
    squares = {
        tile: torch.tensor(places).reshape(side, side)
        for tile, places in tiles.items()
        if side and side * side == len(places)
    }
    overview = squares.pop((0, 0), None)
    views = [] if overview is None else [View(overview)]
    if squares:
        rows, columns = max(row for row, _ in squares), max(column for _, column in squares)
        if len(squares) != rows * columns:
            return []
        lines = [
            torch.cat([squares[row, column] for column in range(1, columns + 1)], dim=1)
            for row in range(1, rows + 1)
        ]
        views.insert(0, View(torch.cat(lines)))
    return views


def _tower(page: _Page) -> list[View]:
    """Vision towers: a token per patch, others (a class token, registers) in front."""
    processor, pixels = page.backbone.processor, page.features[PIXELS]
    if _SHAPES in page.features and len(page.features[_SHAPES]) == 1:
        rows, columns = (int(side) for side in page.features[_SHAPES][0])
        return [View(torch.arange(rows * columns).reshape(rows, columns))]
    box = seen_box(processor, page.width, page.height)
    if pixels.ndim != 4 or len(pixels) != 1 or box is None:
        return []
    rows, columns = pixels.shape[2] // processor.patch_size, pixels.shape[3] // processor.patch_size
    first = page.tokens - rows * columns
    if first < 0:
        return []
    return [View(first + torch.arange(rows * columns).reshape(rows, columns), box)]


# By the `model_type` of the model's configuration.
_LAYOUTS: Mapping[str, Callable[[_Page], list[View]]] = {
    **dict.fromkeys(
        ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "colqwen2"), _by_grid
    ),
    **dict.fromkeys(("paligemma", "colpali", "gemma3", "llava"), _square),
    **dict.fromkeys(("idefics3", "smolvlm", "modernvbert", "colmodernvbert"), _tiles),
    **dict.fromkeys(
        ("vit", "clip_vision_model", "siglip_vision_model", "siglip2_vision_model", "dinov2"), _tower
    ),
}


def _image_processor(processor: ItemProcessor) -> Any:
    return part_of(processor.processor, "image_processor") or processor.processor


def _merge(processor: ItemProcessor) -> int:
    return int(_image_processor(processor).merge_size)
