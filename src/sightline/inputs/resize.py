"""Images straight to the uint8 pixels a model's image processor makes, without its detours through floats.

The transformers processors convert every image to an array, to floats, through a patch layout that repeats
each still image as often as a video has frames, and leave uint8 to be found again. What they compute is small: a
size, one resampling, a crop or a cutting into patches. That is written out here for the two kinds of
processors whose steps are known; `sightline.inputs.shortcuts` proves for each model that the pixels are
the same before they are used.

Shape letters::

    K  images    P  patches    C  colours (3)    H, W  height and width in pixels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from sightline.inputs.images import Fit
from sightline.inputs.pixels import PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

GRID = "image_grid_thw"

# The Qwen-VL family's processors, by backend; later members use the same classes.
_PATCHING = frozenset({"Qwen2VLImageProcessor", "Qwen2VLImageProcessorPil"})
# Steps a plain processor takes from its backend; one that has its own is not understood.
_STEPS = ("preprocess", "_preprocess", "process_image", "convert_to_rgb", "resize", "center_crop")
_TORCH_MODES = {2: "bilinear", 3: "bicubic"}  # PIL's resampling numbers that torch's uint8 resize knows


class DirectImages(Fit, Protocol):
    """Images to features, all of one model's input."""

    def __call__(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """Features of RGB images, pixels as uint8.

        Raises:
            ValueError: an image the processor refuses, too, such as an endless strip.
        """
        ...


@dataclass(frozen=True)
class Resampler:
    """One resize of an RGB image, bit for bit as the processor's backend does it.

    Attributes:
        backend: Pillow, or torch's uint8 resize, which is what torchvision calls. They round differently: about
            one pixel in 300 differs by one step of 255.
        method: PIL's number of the filter.
    """

    backend: Literal["pillow", "torch"]
    method: int

    def __call__(self, image: Image, width: int, height: int) -> np.ndarray:
        """(H, W, C) uint8."""
        from PIL.Image import Resampling

        if image.size == (width, height):
            return np.asarray(image)
        if self.backend == "pillow":
            return np.asarray(image.resize((width, height), Resampling(self.method)))
        # A copy, because torch wants memory that it could write to.
        pixels_1CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        resized_1CHW = interpolate(
            pixels_1CHW,
            (height, width),
            mode=_TORCH_MODES[self.method],
            align_corners=False,
            antialias=True,
        )
        return resized_1CHW[0].permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class PatchedImages:
    """The Qwen-VL family: any size within a number of pixels, cut into patches.

    A patch's pixels are stored once; `PixelNormalization.frames` says how often the model sees them.

    Attributes:
        resampler: how images are resized.
        patch: side of a patch in pixels.
        merge: patches per side of the square that becomes one token; they lie next to each other.
        least, most: limits of the resized image in pixels.
    """

    resampler: Resampler
    patch: int
    merge: int
    least: int
    most: int

    @property
    def method(self) -> int:
        return self.resampler.method

    def target(self, width: int, height: int) -> tuple[int, int]:
        rows, columns = smart_resize(height, width, self.patch * self.merge, self.least, self.most)
        return columns, rows

    def __call__(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """``pixel_values`` (P, C * patch * patch) uint8 and ``image_grid_thw`` (K, 3)."""
        cut, grids = [], []
        for image in images:
            width, height = self.target(*image.size)
            pixels_HWC = self.resampler(image, width, height)
            rows, columns, merge, side = height // self.patch, width // self.patch, self.merge, self.patch
            blocks = pixels_HWC.reshape(rows // merge, merge, side, columns // merge, merge, side, 3)
            patches = np.ascontiguousarray(blocks.transpose(0, 3, 1, 4, 6, 2, 5))
            cut.append(torch.from_numpy(patches.reshape(rows * columns, 3 * side * side)))
            grids.append([1, rows, columns])
        return {PIXELS: cut[0] if len(cut) == 1 else torch.cat(cut), GRID: torch.tensor(grids)}


@dataclass(frozen=True)
class FramedImages:
    """CLIP, SigLIP, ViT and others: one size for all images, perhaps the middle of a larger one.

    Attributes:
        resampler: how images are resized; None leaves them as they are.
        size: (height, width), or the length of the shortest edge.
        crop: (height, width) cut out of the middle, or None.
    """

    resampler: Resampler | None
    size: tuple[int, int] | int
    crop: tuple[int, int] | None

    @property
    def method(self) -> int:
        return 0 if self.resampler is None else self.resampler.method

    def target(self, width: int, height: int) -> tuple[int, int]:
        if self.resampler is None:
            return width, height
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        if width <= height:
            return self.size, int(self.size * height / width)
        return int(self.size * width / height), self.size

    def __call__(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """``pixel_values`` (K, C, H, W) uint8."""
        frames = []
        for image in images:
            if self.resampler is None:
                pixels_HWC = np.asarray(image)
            else:
                pixels_HWC = self.resampler(image, *self.target(*image.size))
            if self.crop is not None:
                pixels_HWC = _middle(pixels_HWC, *self.crop)
            frames.append(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)))
        return {PIXELS: torch.from_numpy(np.stack(frames))}


def direct_images(image_processor: Any) -> DirectImages | None:
    """What the processor's class and settings say it does, or None where they are not understood.

    That the pixels are the same is for `sightline.inputs.shortcuts` to prove.
    """
    kind = type(image_processor)
    facts = image_processor.to_dict()
    backend: Any = {PilBackend: "pillow", TorchvisionBackend: "torch"}
    base = next((one for one in backend if issubclass(kind, one)), None)
    method = facts.get("resample")
    if base is None or (backend[base] == "torch" and method not in _TORCH_MODES):
        return None
    if facts.get("do_resize"):
        if not isinstance(method, int):
            return None
        resampler: Resampler | None = Resampler(backend[base], int(method))
    else:
        resampler = None
    size: Mapping[str, Any] = facts.get("size") or {}
    if kind.__name__ in _PATCHING:
        least, most = size.get("shortest_edge"), size.get("longest_edge")
        if resampler is None or least is None or most is None:
            return None
        return PatchedImages(resampler, facts["patch_size"], facts["merge_size"], least, most)
    if any(getattr(kind, step) is not getattr(base, step) for step in _STEPS) or facts.get("do_pad"):
        return None
    given = {name: value for name, value in size.items() if value is not None}
    if resampler is None:
        fixed: tuple[int, int] | int = (0, 0)
    elif set(given) == {"height", "width"}:
        fixed = (given["height"], given["width"])
    elif set(given) == {"shortest_edge"}:
        fixed = given["shortest_edge"]
    else:
        return None
    if not facts.get("do_center_crop"):
        return FramedImages(resampler, fixed, None)
    crop = facts.get("crop_size") or {}
    rows, columns = crop.get("height"), crop.get("width")
    smallest = (fixed, fixed) if isinstance(fixed, int) else fixed
    # The backends pad images smaller than the crop in different ways, which no model needs.
    if rows is None or columns is None or rows > smallest[0] or columns > smallest[1]:
        return None
    return FramedImages(resampler, fixed, (rows, columns))


def _middle(pixels_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (pixels_HWC.shape[0] - height) // 2, (pixels_HWC.shape[1] - width) // 2
    return pixels_HWC[top : top + height, left : left + width]
