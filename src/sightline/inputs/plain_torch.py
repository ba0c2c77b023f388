"""The operations of transformers' torchvision backend, by torch alone.

Shape letters::

    T  frames    C  colours (3)    H, W  height and width in pixels
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.video_processing_utils import BaseVideoProcessor

# PIL's resampling numbers (0 nearest, 2 bilinear, 3 bicubic) as torch names them.
_MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}


# transformers' own backends do not agree with their base class in their operations' types, hence the ignores.


class PlainTorch(BaseVideoProcessor):
    """The operations of transformers' torchvision backend, by torch alone; frames are RGB already."""

    def convert_to_rgb(self, video: Tensor) -> Tensor:  # type: ignore[override]
        """Nothing: `sightline.inputs.video` gives RGB frames."""
        return video

    def resize(  # type: ignore[override]
        self, image: Tensor, size: Any, resample: Any = None, antialias: bool = True, **_: Any
    ) -> Tensor:
        """(..., C, H, W) in another size, bytes staying bytes, as torchvision's v2 resize computes it.

        Raises:
            ValueError: a size or a filter that no processor named here uses.
        """
        height, width = _target(image, size)
        if (height, width) == tuple(image.shape[-2:]):
            return image
        mode = _MODES.get(2 if resample is None else int(resample))
        if mode is None:
            raise ValueError(f"frames cannot be resized with filter {resample!r} without torchvision")
        frames_TCHW = image.reshape(-1, *image.shape[-3:])
        arguments = {} if mode == "nearest" else {"align_corners": False, "antialias": antialias}
        resized_TCHW = interpolate(frames_TCHW, (height, width), mode=mode, **arguments)
        return resized_TCHW.reshape(*image.shape[:-2], height, width)

    def center_crop(self, image: Tensor, size: Any, **_: Any) -> Tensor:  # type: ignore[override]
        """The middle of (..., C, H, W); frames smaller than the crop get a black border first."""
        height, width = image.shape[-2:]
        rows, columns = max(0, size.height - height), max(0, size.width - width)
        if rows or columns:
            image = pad(image, (columns // 2, (columns + 1) // 2, rows // 2, (rows + 1) // 2))
        top, left = (image.shape[-2] - size.height) // 2, (image.shape[-1] - size.width) // 2
        return image[..., top : top + size.height, left : left + size.width]

    def normalize(  # type: ignore[override]
        self, image: Tensor, mean: Any, std: Any, inplace: bool = False, **_: Any
    ) -> Tensor:
        """``(image - mean) / std`` per colour."""
        means, stds = (torch.as_tensor(value, dtype=image.dtype).view(-1, 1, 1) for value in (mean, std))
        return (image.sub_(means) if inplace else image.sub(means)).div_(stds)


def _target(image: Tensor, size: Any) -> tuple[int, int]:
    if size.height and size.width:
        return size.height, size.width
    if size.shortest_edge:
        return get_size_with_aspect_ratio(tuple(image.shape[-2:]), size.shortest_edge, size.longest_edge)
    raise ValueError(f"frames cannot be resized to {size} without torchvision")
