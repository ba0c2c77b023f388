"""Where on a page a score comes from: against naive loops, finite differences and pages whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline.errors import ConfigError
from sightline.models import heat
from sightline.models.boxes import WHOLE, Box, laid_out, page_grid
from sightline.models.encoder import Encoder
from sightline.models.page_scores import EncoderScores, RerankerScores
from sightline.models.page_views import pixel_cells, seen_box, token_views
from sightline.models.reranker import Reranker
from sightline.types import Embeddings
from support import tiny_late
from support.tiny_answers import qwen3_vl_answers
from support.zoo.vision_language import gemma3, idefics3, internvl, llava

PAPER = (250, 250, 250)
QUERY = "costs of the plant"


def page_with_mark(size: tuple[int, int], box: Box, seed: int = 0) -> Image.Image:
    """Blank paper with a patch of noise."""
    width, height = size
    image = Image.new("RGB", size, PAPER)
    left, top = round(box.left * width), round(box.top * height)
    shape = (round(box.bottom * height) - top, round(box.right * width) - left, 3)
    noise = np.random.default_rng(seed).integers(0, 200, shape, dtype=np.uint8)
    image.paste(Image.fromarray(noise), (left, top))
    return image


def cell(grid: tuple[int, int], row: int, column: int) -> Box:
    return Box(column / grid[1], row / grid[0], (column + 1) / grid[1], (row + 1) / grid[0])


def hottest(values_HW: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(np.nanargmax(values_HW), values_HW.shape)
    return int(row), int(column)


# Late interaction

# Architecture, size of the page (width, height), the grid it is seen on, whether the page stands beside a text.
LATE = [
    (tiny_late.colqwen2, (56, 56), (2, 2)),
    (tiny_late.colqwen2, (28, 112), (4, 1)),
    (tiny_late.colpali, (40, 60), (4, 4)),
    (gemma3, (32, 32), (2, 2)),
    (idefics3, (64, 64), (4, 4)),
    (idefics3, (128, 64), (2, 4)),
    (llava, (32, 32), (4, 4)),
]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Encoder]:
    made: dict[str, Encoder] = {}

    def load(build: Callable[[Path], Path]) -> Encoder:
        name = build.__name__
        if name not in made:
            torch.manual_seed(0)
            folder = build(tmp_path_factory.mktemp(name) / "model")
            made[name] = Encoder.from_pretrained(folder, device="cpu", multi_vector=True)
            # Attention of random weights stirs all places together; that of trained ones leaves them where they are.
            with torch.no_grad():
                for part, weight in made[name].named_parameters():
                    if part.endswith(("o_proj.weight", "out_proj.weight", "attn.proj.weight")):
                        weight.mul_(0.02)
        return made[name]

    return load


def asked(encoder: Encoder, query: Any = QUERY) -> EncoderScores:
    if not encoder.supports("text") and isinstance(query, str):
        vector = torch.randn(1, 3, encoder.embedding_dim, generator=torch.Generator().manual_seed(1))
        return EncoderScores(encoder, Embeddings(vector, torch.ones(1, 3, dtype=torch.bool)), "maxsim")
    return EncoderScores(encoder, encoder.encode_query([query]), encoder.similarity_fn_name)


@pytest.mark.parametrize(("build", "size", "grid"), LATE)
def test_a_place_has_the_token_that_sees_it(
    late: Callable[[Any], Encoder], build: Any, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    """A change of the page at one place changes no token as much as the one that is said to lie there."""
    encoder = late(build)
    scores = asked(encoder)
    blank = Image.new("RGB", size, PAPER)
    for row in range(grid[0]):
        for column in range(grid[1]):
            marked = page_with_mark(size, cell(grid, row, column))
            with torch.inference_mode():
                batches = [scores.micro_batch({"image": image}) for image in (blank, marked)]
                before, after = (scores.embed(batch).values[0] for batch in batches)
            backbone = scores.backbone(batches[0])
            views = token_views(backbone, batches[0].features, len(before), width=size[0], height=size[1])
            assert tuple(views[0].positions_HW.shape) == grid
            change_T = (after - before).norm(dim=-1)
            change_HW = change_T[views[0].positions_HW].numpy()
            assert hottest(change_HW) == (row, column), change_HW.round(3)


@pytest.mark.parametrize(("build", "size", "grid"), LATE[:4])
def test_token_similarities_equal_a_naive_loop(
    late: Callable[[Any], Encoder], build: Any, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    encoder = late(build)
    scores = asked(encoder)
    page = {"image": page_with_mark(size, cell(grid, 1, 0))}
    found = heat.token_evidence(scores, page, width=size[0], height=size[1])
    with torch.inference_mode():
        batch = scores.micro_batch(page)
        tokens = scores.embed(batch).values[0]
    views = token_views(scores.backbone(batch), batch.features, len(tokens), width=size[0], height=size[1])
    positions = views[0].positions_HW
    queries = scores.query.tokens()[0]
    expected = np.zeros(grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            token = tokens[positions[row, column]]
            alike = [sum(float(a) * float(b) for a, b in zip(one, token)) for one in queries]
            expected[row, column] = sum(alike) / len(alike)
    np.testing.assert_allclose(found.values_HW, expected, atol=1e-5)
    assert found.passes == 1
    stored = encoder.encode_document([page])
    assert found.score == pytest.approx(float(encoder.similarity(scores.query, stored)[0, 0]), abs=1e-4)


def test_of_several_scales_a_place_has_the_best(late: Callable[[Any], Encoder]) -> None:
    encoder = late(idefics3)
    scores = asked(encoder)
    page = {"image": page_with_mark((64, 64), cell((4, 4), 0, 2))}
    found = heat.token_evidence(scores, page, width=64, height=64)
    with torch.inference_mode():
        batch = scores.micro_batch(page)
        tokens = scores.embed(batch).values[0]
    fine, coarse = (
        view.positions_HW
        for view in token_views(scores.backbone(batch), batch.features, len(tokens), width=64, height=64)
    )
    assert fine.shape == (4, 4)
    assert coarse.shape == (2, 2)
    queries = scores.query.tokens()[0]
    for row in range(4):
        for column in range(4):
            over = torch.stack([tokens[fine[row, column]], tokens[coarse[row // 2, column // 2]]])
            best = (queries @ over.T).max(1).values.mean()
            assert found.values_HW[row, column] == pytest.approx(float(best), abs=1e-5)


def test_a_model_whose_layout_nobody_knows_is_named(late: Callable[[Any], Encoder]) -> None:
    scores = asked(late(internvl))
    with pytest.raises(ConfigError, match=r"how internvl models lay .* use method='occlusion'"):
        heat.token_evidence(scores, {"image": Image.new("RGB", (32, 32))}, width=32, height=32)


# Gradients


def pixel_model(
    tiny_encoder: Callable[[str], Encoder], name: str
) -> tuple[Encoder, EncoderScores, tuple[int, int]]:
    encoder = tiny_encoder(name)
    vector = torch.randn(1, encoder.embedding_dim, generator=torch.Generator().manual_seed(1))
    size = {"vit": (64, 64), "qwen3_vl": (32, 64), "clip": (32, 32)}[name]
    return encoder, EncoderScores(encoder, Embeddings(vector), "cosine"), size


def both_pages(size: tuple[int, int], box: Box) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"image": page_with_mark(size, box)}, {"image": Image.new("RGB", size, PAPER)}


@pytest.mark.parametrize("name", ["vit", "qwen3_vl"])
def test_gradients_equal_finite_differences(tiny_encoder: Callable[[str], Encoder], name: str) -> None:
    _, scores, size = pixel_model(tiny_encoder, name)
    page, blank = both_pages(size, WHOLE)
    found = heat.gradient_evidence(scores, page, blank, width=size[0], height=size[1], steps=1)
    assert found is not None
    batch, start = scores.micro_batch(page), scores.micro_batch(blank).features["pixel_values"].float()
    way = batch.features["pixel_values"].float() - start
    processor = scores.images(batch)[1]
    rows, columns = found.values_HW.shape
    owners = torch.zeros_like(way)
    for number, row, column in [(1, 0, 0), (2, rows - 1, columns - 1), (3, rows // 2, 0)]:
        # Which pixels belong to a cell is found from an image that differs from blank there alone.
        only = page_with_mark(size, cell((rows, columns), row, column))
        inside = scores.micro_batch({"image": only}).features["pixel_values"].float() != start
        owners[inside.reshape(owners.shape)] = number
        step = 0.02
        values = []
        for sign in (1, -1):
            batch.features["pixel_values"] = start + way * (0.5 + sign * step * (owners == number))
            with torch.inference_mode():
                values.append(float(scores.score(batch)[0].double()))
        difference = (values[0] - values[1]) / (2 * step)
        touched = pixel_cells(
            processor, batch.features, way * (owners == number), width=size[0], height=size[1]
        )
        assert touched is not None
        assert np.abs(touched[0]).sum() == pytest.approx(abs(touched[0][row, column]), rel=1e-6)
        assert found.values_HW[row, column] == pytest.approx(difference, rel=0.05, abs=2e-4)


@pytest.mark.parametrize("name", ["vit", "qwen3_vl"])
def test_integrated_gradients_add_up_to_what_the_image_gives(
    tiny_encoder: Callable[[str], Encoder], name: str
) -> None:
    _, scores, size = pixel_model(tiny_encoder, name)
    page, blank = both_pages(size, Box(0.0, 0.25, 0.5, 0.75))
    found = heat.gradient_evidence(scores, page, blank, width=size[0], height=size[1], steps=64)
    assert found is not None
    whole, empty = scores.scores([page, blank])
    assert abs(whole - empty) > 1e-2
    assert found.score == pytest.approx(float(whole), abs=1e-4)
    assert found.values_HW.sum() == pytest.approx(float(whole - empty), rel=0.03)
    assert found.passes == 129


@pytest.mark.parametrize(("name", "grid"), [("vit", (4, 4)), ("qwen3_vl", (4, 2))])
@pytest.mark.parametrize("place", [(0, 0), (1, 1), (3, 0)])
def test_gradients_lie_where_the_ink_is(
    tiny_encoder: Callable[[str], Encoder], name: str, grid: tuple[int, int], place: tuple[int, int]
) -> None:
    _, scores, size = pixel_model(tiny_encoder, name)
    page, blank = both_pages(size, cell(grid, *place))
    found = heat.gradient_evidence(scores, page, blank, width=size[0], height=size[1])
    assert found is not None
    ratio = max(1, found.values_HW.shape[0] // grid[0])
    strong = np.abs(found.values_HW)
    inside = strong[
        place[0] * ratio : (place[0] + 1) * ratio, place[1] * ratio : (place[1] + 1) * ratio
    ].sum()
    assert inside > 0.95 * strong.sum()


def test_gradients_leave_no_trace(tiny_encoder: Callable[[str], Encoder]) -> None:
    encoder, scores, size = pixel_model(tiny_encoder, "vit")
    page, blank = both_pages(size, WHOLE)
    before = [parameter.grad for parameter in encoder.parameters()]
    first = heat.gradient_evidence(scores, page, blank, width=64, height=64)
    encoder.train()
    try:
        again = heat.gradient_evidence(scores, page, blank, width=64, height=64)
        assert encoder.training
    finally:
        encoder.eval()
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.values_HW, again.values_HW)
    assert [parameter.grad for parameter in encoder.parameters()] == before


def test_a_reranker_is_asked_for_its_own_score(tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(qwen3_vl_answers(tmp_path / "bare"), device="cpu", head="answer")
    scores = RerankerScores(reranker, "a pump")
    page, blank = both_pages((56, 56), Box(0.0, 0.0, 0.5, 1.0))
    whole, empty = scores.scores([page, blank])
    plain = reranker.predict([("a pump", page), ("a pump", blank)], activation=nn.Identity())
    np.testing.assert_allclose([whole, empty], plain, atol=1e-6)
    found = heat.gradient_evidence(scores, page, blank, width=56, height=56, steps=32)
    assert found is not None
    assert found.values_HW.sum() == pytest.approx(float(whole - empty), rel=0.05, abs=1e-3)
    assert np.abs(found.values_HW[:, 2:]).sum() <= 1e-6, "nothing where the page is blank"
    tiles = heat.tile_evidence(scores, page, lambda box: blank if box.left == 0 else page, (1, 2))
    assert tiles.values_HW[0, 0] == pytest.approx(float(whole - empty), abs=1e-5)
    assert tiles.values_HW[0, 1] == 0


# Occlusion


class InkAt:
    """Scores a page by the ink in one region: a model that is known to look there and nowhere else."""

    model = nn.Identity()

    def __init__(self, region: Box) -> None:
        self.region = region
        self.asked = 0

    def scores(self, pages: Sequence[Any]) -> np.ndarray:
        self.asked += len(pages)
        found = []
        for page in pages:
            pixels = 255.0 - np.asarray(page["image"].convert("L"), np.float32)
            height, width = pixels.shape
            box = self.region
            rows = slice(round(box.top * height), round(box.bottom * height))
            found.append(pixels[rows, round(box.left * width) : round(box.right * width)].sum() / pixels.size)
        return np.array(found, np.float32)

    def micro_batch(self, page: Any) -> Any:
        raise AssertionError("occlusion needs no graph")

    score = images = micro_batch


@pytest.mark.parametrize("size", [(90, 120), (200, 50), (60, 60)])
@pytest.mark.parametrize("middle", [(0.1, 0.1), (0.9, 0.35), (0.45, 0.8)])
def test_the_hottest_tile_lies_where_the_model_looks(
    size: tuple[int, int], middle: tuple[float, float]
) -> None:
    x, y = middle
    looked = Box(x - 0.05, y - 0.05, x + 0.05, y + 0.05)
    scores = InkAt(looked)
    page = page_with_mark(size, WHOLE)
    grid = heat.tile_grid(*size, 40)

    def without(box: Box) -> dict[str, Any]:
        copy = page.copy()
        width, height = size
        copy.paste(
            PAPER,
            tuple(map(round, (box.left * width, box.top * height, box.right * width, box.bottom * height))),
        )
        return {"image": copy}

    found = heat.tile_evidence(scores, {"image": page}, without, grid)
    assert scores.asked == found.passes == grid[0] * grid[1] + 1 <= 41
    row, column = hottest(found.values_HW)
    tile = cell(grid, row, column)
    assert tile.left < looked.right
    assert tile.right > looked.left
    assert tile.top < looked.bottom
    assert tile.bottom > looked.top
    # What the tiles take away is all there is: each pixel lies in one of them.
    blank = float(scores.scores([{"image": Image.new("RGB", size, PAPER)}])[0])
    assert found.values_HW.sum() == pytest.approx(found.score - blank, rel=1e-3)


def test_occlusion_does_not_depend_on_the_batch(tiny_encoder: Callable[[str], Encoder]) -> None:
    _, scores, size = pixel_model(tiny_encoder, "vit")
    pages = [page_with_mark(size, cell((2, 3), row, column)) for row in range(2) for column in range(3)]
    together = scores.scores([{"image": page} for page in pages])
    alone = np.concatenate([scores.scores([{"image": page}]) for page in pages])
    assert together.std() > 1e-3
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "tiles", "grid"),
    [
        ((850, 1100), 48, (8, 6)),
        ((1600, 900), 48, (5, 9)),
        ((100, 100), 1, (1, 1)),
        ((10, 4000), 20, (20, 1)),
    ],
)
def test_tiles_are_nearly_square_and_no_more_than_asked(
    size: tuple[int, int], tiles: int, grid: tuple[int, int]
) -> None:
    assert heat.tile_grid(*size, tiles) == grid
    with pytest.raises(ConfigError, match="at least 1 tile"):
        heat.tile_grid(*size, 0)


# Laying out and showing


def test_a_cut_view_lies_in_its_part_of_the_page(late: Callable[[Any], Encoder]) -> None:
    """LLaVA's processor looks at the middle square of a page."""
    processor = late(llava).backbones()[""].processor
    assert seen_box(processor, 32, 32) == WHOLE
    box = seen_box(processor, 32, 64)
    assert box == Box(0.0, 0.25, 1.0, 0.75)
    values = np.arange(16.0).reshape(4, 4)
    rows, columns = page_grid(values.shape, box)
    assert (rows, columns) == (8, 4)
    laid = laid_out(values, box, rows, columns)
    np.testing.assert_array_equal(laid[2:6], values)
    assert np.isnan(laid[:2]).all()
    assert np.isnan(laid[6:]).all()


def test_what_is_shown_lies_between_0_and_1() -> None:
    values = np.array([[np.nan, -1.0], [0.5, 2.0]])
    evidence = heat.Evidence(values, 1.0, 1)
    np.testing.assert_allclose(heat.contributions_shown(evidence), [[0, 0], [0.25, 1]])
    np.testing.assert_allclose(heat.similarities_shown(evidence), [[0, 0], [0, 1]])
    steps = heat.Evidence(np.array([[0.0, 1.0, 1.0, 2.0, 5.0]]), 1.0, 1)
    np.testing.assert_allclose(heat.similarities_shown(steps), [[0, 0, 0, 0.25, 1]])
    flat = heat.Evidence(np.zeros((2, 2)), 0.0, 1)
    for shown in (heat.contributions_shown(flat), heat.similarities_shown(flat)):
        assert shown.dtype == np.float32
        assert not shown.any()
