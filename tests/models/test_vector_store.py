"""The file of vectors: what was added is there, whatever a kill or the disk did at its end or in its middle."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.errors import DataError
from sightline.models.vector_store import GivenVectors, VectorFile, Vectors
from sightline.types import Embeddings


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in numbers]


def single(count: int, dim: int = 5, seed: int = 0) -> Embeddings:
    return Embeddings(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)))


def tokens(lengths: list[int], dim: int = 3) -> Embeddings:
    generator = torch.Generator().manual_seed(1)
    return Embeddings.ragged([torch.randn(length, dim, generator=generator) for length in lengths])


def same(found: Embeddings, wanted: Embeddings) -> bool:
    masks = (found.mask is None) == (wanted.mask is None)
    if found.mask is not None and wanted.mask is not None:
        masks = torch.equal(found.mask, wanted.mask)
    return masks and torch.equal(found.values, wanted.values)


def test_what_is_added_is_found_again_in_any_order(tmp_path: Path) -> None:
    path, vectors = tmp_path / "deep" / "a.vectors", single(9)
    file = VectorFile(path)
    file.add(keys(*range(4)), vectors[:4])
    file.add(keys(*range(4, 9)), vectors[4:])
    for opened in (file, VectorFile(path)):
        assert len(opened) == 9
        assert keys(3)[0] in opened
        assert keys(10)[0] not in opened
        everything = opened.vectors(keys(*range(9)))
        for rows in ([0, 1, 2], [8, 0, 4, 4], [5], list(range(9))):
            assert same(everything.take(np.array(rows, int)), vectors[rows])
        assert everything.take(np.zeros(0, int)).values.shape == (0, 5)
        assert (everything.dim, everything.multi_vector, len(everything)) == (5, False, 9)


def test_token_vectors_keep_their_lengths(tmp_path: Path) -> None:
    lengths = [4, 1, 7, 2]
    vectors = tokens(lengths)
    file = VectorFile(tmp_path / "t.vectors")
    file.add(keys(0, 1), vectors[:2])
    file.add(keys(2, 3), vectors[2:])
    stored = file.vectors(keys(0, 1, 2, 3))
    assert stored.multi_vector
    assert stored.tokens_n.tolist() == lengths
    for rows in ([0, 1, 2, 3], [1, 3], [3, 0]):
        assert same(stored.take(np.array(rows)), vectors[rows].compact())
    given: Vectors = GivenVectors(vectors)
    assert given.tokens_n.tolist() == lengths
    assert same(given.take(np.array([3, 0])), vectors[[3, 0]])


@pytest.mark.parametrize("left", [1, 63, 64, 65, 100, 150, 191])
def test_an_unfinished_block_is_cut_off_by_the_next(tmp_path: Path, left: int) -> None:
    path, vectors = tmp_path / "a.vectors", single(4)
    VectorFile(path).add(keys(0, 1), vectors[:2])
    whole = path.stat().st_size
    VectorFile(path).add(keys(2, 3), vectors[2:])
    finished = path.read_bytes()
    assert whole + left < len(finished)
    with path.open("rb+") as file:
        file.truncate(whole + left)  # what a kill may leave
    opened = VectorFile(path)
    assert len(opened) == 2
    assert same(opened.vectors(keys(0, 1)).take(np.arange(2)), vectors[:2])
    opened.add(keys(2, 3), vectors[2:])
    assert path.read_bytes() == finished


def test_a_damaged_block_is_told_and_its_items_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, vectors = tmp_path / "a.vectors", single(6)
    file = VectorFile(path)
    for number in range(0, 6, 2):
        file.add(keys(number, number + 1), vectors[number : number + 2])
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third + third - 30] ^= 1  # a bit of the vectors of the second block
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "sightline"):
        opened = VectorFile(path)
    assert "damaged" in caplog.text
    assert [key in opened for key in keys(*range(6))] == [True, True, False, False, True, True]
    opened.add(keys(2, 3), vectors[2:4])
    assert same(VectorFile(path).vectors(keys(*range(6))).take(np.arange(6)), vectors)


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    path, vectors = tmp_path / "a.vectors", single(4)
    one, other = VectorFile(path), VectorFile(path)
    one.add(keys(0), vectors[:1])
    other.add(keys(1), vectors[1:2])
    one.add(keys(2), vectors[2:3])
    assert len(one) == 3
    assert len(other) == 2
    other.add(keys(3), vectors[3:])
    assert same(other.vectors(keys(0, 1, 2, 3)).take(np.arange(4)), vectors)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"a\.vectors: cannot be opened"):
        VectorFile(tmp_path / "file" / "a.vectors")


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    path, vectors = tmp_path / "a.vectors", single(300)
    file = VectorFile(path)
    file.add(keys(*range(10)), vectors[:10])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, hard))
    try:
        with pytest.raises(DataError, match=r"a\.vectors: cannot be written \(File too large\)"):
            file.add(keys(*range(10, 300)), vectors[10:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(VectorFile(path)) == len(file) == 10
    file.add(keys(*range(10, 300)), vectors[10:])
    assert same(VectorFile(path).vectors(keys(*range(300))).take(np.arange(300)), vectors)
