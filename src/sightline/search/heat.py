"""Where on a page its score comes from, computed when somebody asks.

Three ways, which the result names:

- **token similarity**, for late-interaction models: the query's tokens against the page's image tokens, one pass;
- **gradient**, for models that take pages as images: integrated gradients of the score by the pixels;
- **occlusion**, for every model: tiles of the page are blanked, its pixels and the words that stand there, and what
  the score loses by it is the tile's.

Shape letters: H, W rows and columns of a grid over the page.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sightline.errors import ConfigError, SearchIndexError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from sightline.models.boxes import Box
    from sightline.models.page_scores import PageScores
    from sightline.search.word_boxes import PlacedWord

HeatMethod = Literal["token similarity", "gradient", "occlusion"]
METHODS: tuple[str, ...] = get_args(HeatMethod)
MODELS = ("encoder", "reranker")


@dataclass(frozen=True)
class HeatMap:
    """What a model's score of a page owes to its places.

    Attributes:
        values_HW: float32 in 0..1 over the page from its upper left corner: 1 is the most of this page, 0 nothing (of
            token similarities: no more than at the median place). Maps of two pages cannot be compared.
        method: "token similarity", "gradient" or "occlusion".
        model: "encoder" or "reranker".
        seconds: it took.
        score: of the page, by that model; a reranker's before its activation.
        passes: pages that went through the model.
        sees: what of the page was looked at: "image", "text", or both.
    """

    values_HW: np.ndarray
    method: str
    model: str
    seconds: float
    score: float
    passes: int
    sees: tuple[str, ...]


@dataclass(frozen=True)
class HeatSettings:
    """How a heat map is made.

    Attributes:
        method: one of `METHODS`; None for the first that suits the model and the page: token similarity, then
            gradient where the page is read as an image alone, then occlusion.
        tiles: of occlusion, at most; the model reads the page once more than there are tiles.
        steps: of the gradient; each is a forward and a backward pass.

    Raises:
        SearchIndexError: an unknown method, tiles or steps below 1.
    """

    method: str | None = None
    tiles: int = 48
    steps: int = 8

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise SearchIndexError(
                f"heat map method {self.method!r} is unknown; choose from {', '.join(METHODS)}"
            )
        if self.tiles < 1 or self.steps < 1:
            raise SearchIndexError("a heat map needs at least 1 tile and 1 step")


def heat_map(
    scores: PageScores,
    value: Mapping[str, Any],
    *,
    words: list[PlacedWord],
    size: tuple[int, int],
    settings: HeatSettings,
) -> HeatMap:
    """The heat map of a page.

    Args:
        scores: the model and the question.
        value: the page as the model reads it: "text", "image" (anything `inputs.images.open_image` takes), or both.
        words: of the text, where it is known where they stand.
        size: width and height of the page, for its shape, where there is no image.
        settings: how.

    Raises:
        SearchIndexError: a method that does not suit the model or the page, or nothing to show.
        InputError, MediaError: a page the model cannot read.
    """
    from sightline.inputs.images import open_image
    from sightline.models import heat
    from sightline.models.page_scores import EncoderScores

    started = time.perf_counter()
    image = open_image(value["image"]) if value.get("image") is not None else None
    page: dict[str, Any] = {**value, "image": image} if image is not None else dict(value)
    width, height = size if image is None else image.size
    method = settings.method
    by_tokens = isinstance(scores, EncoderScores) and scores.model.multi_vector
    found: heat.Evidence | None = None
    sees: tuple[str, ...] = ("image",)
    if image is not None and (method == "token similarity" or (method is None and by_tokens)):
        found, used = _by_tokens(scores, page, image, strict=method is not None), "token similarity"
    # The words of a page that is read as image and text do not show in its pixels' gradient.
    alone = "text" not in page or not words
    if found is None and image is not None and (method == "gradient" or (method is None and alone)):
        blank = {**page, "image": _blanked(image, None)}
        found, used = (
            heat.gradient_evidence(scores, page, blank, width=width, height=height, steps=settings.steps),
            "gradient",
        )
    if found is None and method in ("token similarity", "gradient"):
        why = (
            "the page is not read as an image"
            if image is None
            else "this model's input is not known to allow it"
        )
        raise SearchIndexError(f"no heat map by {method}: {why}; use method='occlusion'")
    if found is None:
        sees = tuple(kind for kind, there in (("image", image is not None), ("text", bool(words))) if there)
        if not sees:
            raise SearchIndexError(
                "there is nothing to show: the model reads the text of this page, and where its words stand is known "
                "of PDFs with a text layer only, as long as the files lie where they were ingested from"
            )
        tiles = _Tiles(page, image, words)
        grid = heat.tile_grid(width or 1, height or 1, settings.tiles)
        found, used = heat.tile_evidence(scores, page, tiles.without, grid), "occlusion"
    shown = heat.similarities_shown if used == "token similarity" else heat.contributions_shown
    return HeatMap(
        values_HW=shown(found),
        method=used,
        model="encoder" if isinstance(scores, EncoderScores) else "reranker",
        seconds=time.perf_counter() - started,
        score=found.score,
        passes=found.passes,
        sees=sees,
    )


def _by_tokens(scores: PageScores, page: Any, image: Image, *, strict: bool) -> Any:
    """Evidence by tokens; None where the model's layout is not known and another way may be taken."""
    from sightline.models import heat
    from sightline.models.page_scores import EncoderScores

    if not isinstance(scores, EncoderScores) or not scores.model.multi_vector:
        raise SearchIndexError(
            "token similarity is for encoders that give a vector per token; use gradient or occlusion"
        )
    try:
        return heat.token_evidence(scores, page, width=image.width, height=image.height)
    except ConfigError as error:
        if strict:
            raise SearchIndexError(str(error)) from error
        return None


@dataclass(frozen=True)
class _Tiles:
    page: Mapping[str, Any]
    image: Image | None
    words: list[PlacedWord]

    def without(self, box: Box) -> dict[str, Any]:
        """The page with a rectangle blanked: its pixels, and the words whose middle lies in it."""
        found = dict(self.page)
        if self.image is not None:
            found["image"] = _blanked(self.image, box)
        if self.words:
            text, pieces, position = str(self.page["text"]), [], 0
            for word in self.words:
                across, down = (word.box.left + word.box.right) / 2, (word.box.top + word.box.bottom) / 2
                if box.left <= across < box.right and box.top <= down < box.bottom:
                    pieces.append(text[position : word.start])
                    position = word.end
            found["text"] = "".join([*pieces, text[position:]])
        return found


def _blanked(image: Image, box: Box | None) -> Image:
    """A copy with a rectangle, or all of it, in the page's background: the median of its colours."""
    import numpy as np

    small = image.resize((min(image.width, 200), min(image.height, 200)), 0)
    colour = tuple(int(value) for value in np.median(np.asarray(small).reshape(-1, 3), axis=0))
    copy = image.copy()
    if box is None:
        area = (0, 0, image.width, image.height)
    else:
        area = (
            round(box.left * image.width),
            round(box.top * image.height),
            round(box.right * image.width),
            round(box.bottom * image.height),
        )
    copy.paste(colour, area)
    return copy
