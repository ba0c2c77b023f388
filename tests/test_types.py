"""Embeddings: rows, prefixes, precisions; item and cost facts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.errors import InputError
from sightline.types import Cost, Embeddings, Item, Part

VALUES = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "index", [2, np.int64(2), torch.tensor(2), [2], np.array([2]), torch.tensor([2]), slice(2, 3)]
)
def test_any_index_gives_rows(index: object) -> None:
    row = Embeddings(VALUES)[index]
    assert row.shape == (1, 8)
    torch.testing.assert_close(row.values, VALUES[2:3])


def test_a_mask_of_bools_selects_rows() -> None:
    chosen = torch.tensor([True, False, True, False, False])
    torch.testing.assert_close(Embeddings(VALUES)[chosen].values, VALUES[[0, 2]])


def test_truncate_and_normalize() -> None:
    cut = Embeddings(VALUES).truncate(3, normalize=True)
    torch.testing.assert_close(cut.values.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(cut.values, torch.nn.functional.normalize(VALUES[:, :3]))
    with pytest.raises(InputError, match="8-dimensional embeddings to 9"):
        Embeddings(VALUES).truncate(9)


def test_numpy_and_iteration() -> None:
    embeddings = Embeddings(VALUES.bfloat16())
    assert np.asarray(embeddings).dtype == np.float32
    assert len(list(embeddings)) == len(embeddings) == 5


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
def test_quantize_agrees_with_sentence_transformers(precision: str) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    wide = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    ours = Embeddings(wide).quantize(precision)  # type: ignore[arg-type]
    if precision == "float16":
        torch.testing.assert_close(ours.values, wide.half())
        return
    theirs = quantize_embeddings(wide.numpy(), precision=precision)
    assert ours.values.numpy().dtype == theirs.dtype
    # The two divide in another order, so a value on the edge of a bucket may fall on either side.
    assert np.abs(ours.values.numpy().astype(int) - theirs.astype(int)).max() <= (
        precision in ("int8", "uint8")
    )


def test_concatenate_pads_token_vectors() -> None:
    short = Embeddings(torch.ones(1, 2, 4), torch.ones(1, 2, dtype=torch.bool))
    long = Embeddings(torch.ones(2, 5, 4), torch.ones(2, 5, dtype=torch.bool))
    joined = Embeddings.concatenate([short, long])
    assert joined.shape == (3, 5, 4)
    assert joined.mask is not None
    assert joined.mask.sum(dim=1).tolist() == [2, 5, 5]


def test_modality_and_cost() -> None:
    mixed = Item((Part("text", "a"), Part("image", b"")), key="0")
    assert mixed.modality == ("image", "text")
    assert Item((Part("text", "a", "user"),), key="0", is_message=True).modality == "message"
    assert (Cost(3, 8) + Cost(1)).total == 6
