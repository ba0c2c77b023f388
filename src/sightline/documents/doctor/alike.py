"""Pages that are nearly the same: the same text but for a few words, or the same picture but for the way it was saved.

Shape letters::

    N  pages    R  rows of a block    K  hash functions    S  shingles of a text
    C  cells of a small picture       Q  cells of a coarse one    P  pairs
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash

from sightline.documents.doctor.picture import SIDE

# Words of a shingle, and the share of shingles that two texts of the same page have in common at least.
WORDS, ALIKE = 4, 0.85
# A shorter text is too little to go by: titles and page numbers are alike everywhere.
ENOUGH_WORDS = 20
# Words of a text that are compared; a dense newspaper page has about 3,000.
MOST_WORDS = 4_000
# MinHash (Broder 1997) in bands: texts with a share of `ALIKE` are missed once in 5,000 pairs, those with a share of
# 0.5 meet by chance one time in five.
BANDS, ROWS = 16, 6
# Levels of grey, of 255, by which two savings of a page differ: in any cell of their small pictures, on average over
# these, and (root mean square) in the coarse ones.
MOST_LEVELS, MEAN_LEVELS, COARSE_LEVELS = 24, 3.0, 2.5
# Side of a coarse picture.
COARSE = 8
# Pictures with less on them say nothing about each other.
LEAST_SPREAD = 2.0
# Earlier pages that one is compared with closely; among more than that, all nearly the same, these will do.
CLOSELY = 16
# Pictures compared with all others of their brightness at once, and pairs compared closely at once.
BLOCK, PAIRS = 512, 16_384
_WORD = re.compile(r"\w+")


@dataclass
class Look:
    """What is compared of a page.

    Attributes:
        text: its text.
        small: its small picture; empty without an image.
        ratio: width of the image over its height.
    """

    text: str = ""
    small: bytes = b""
    ratio: float = 0.0
    _shingles: frozenset[int] | None = field(default=None, repr=False)

    @property
    def shingles(self) -> frozenset[int]:
        """Hashes of each four words in a row."""
        if self._shingles is None:
            self._shingles = shingles(self.text)
        return self._shingles


def shingles(text: str) -> frozenset[int]:
    """Hashes of the text's runs of `WORDS` words, case and punctuation aside; empty for a short text."""
    words = _WORD.findall(text.casefold())[:MOST_WORDS]
    if len(words) < ENOUGH_WORDS:
        return frozenset()
    return frozenset(
        xxhash.xxh3_64_intdigest(" ".join(words[start : start + WORDS]).encode())
        for start in range(len(words) - WORDS + 1)
    )


class Groups:
    """Numbers in groups that grow together; the least of a group stands for it.

    Args:
        count: numbers from 0, each in a group of its own.
    """

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def of(self, number: int) -> int:
        """The least number of its group."""
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number

    def join(self, first: int, second: int) -> None:
        """Makes two groups one."""
        low, high = sorted((self.of(first), self.of(second)))
        self._above[high] = low


def alike(looks: Sequence[Look], same: Callable[[int, int], bool]) -> Groups:
    """Pages in groups of those that are nearly the same, directly or through others.

    Two pages are where their texts share at least 85 % of all their runs of four words; or where they look the same
    and their texts agree, or, where one has none, they are the same cell by cell. The time grows with the number of
    pages, and with its square only for pages that are equally bright, by 64 multiplications a pair.

    Args:
        looks: what is compared of each page.
        same: compares the images of two pages closely, by their numbers.
    """
    groups = Groups(len(looks))
    for pairs in (_by_text(looks), _by_picture(looks, same)):
        for first, second in pairs:
            groups.join(first, second)
    return groups


# By text


def _by_text(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, look in enumerate(looks):
        if not look.shingles:
            continue
        signature_K = _signature(look.shingles)
        asked: set[int] = set()
        for band in range(BANDS):
            known = bands[band, signature_K[band * ROWS : (band + 1) * ROWS].tobytes()]
            asked.update(known)
            if len(known) < CLOSELY:
                known.append(number)
        yield from (
            (other, number) for other in asked if share(looks[other].shingles, look.shingles) >= ALIKE
        )


def _signature(found: frozenset[int]) -> np.ndarray:
    """(K,) the least value of each hash function over the shingles."""
    values_S = np.fromiter(found, dtype=np.uint64, count=len(found))
    # Multiply-shift hashing: 64 bits wrap around as they should, and the upper half is what is random.
    hashed_SK = (values_S[:, None] * _FACTORS + _TERMS) >> np.uint64(32)
    least_K: np.ndarray = hashed_SK.min(axis=0)
    return least_K


def share(first: frozenset[int], second: frozenset[int]) -> float:
    """Jaccard's index: what two sets have in common, of all they have."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)


_CHANCE = np.random.default_rng(0)
_FACTORS = _CHANCE.integers(1, 1 << 63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_TERMS = _CHANCE.integers(0, 1 << 63, BANDS * ROWS, dtype=np.uint64)


# By picture


def _by_picture(looks: Sequence[Look], same: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Pairs of pages whose small pictures are nearly equal."""
    first: dict[bytes, int] = {}
    for number, look in enumerate(looks):
        if not look.small:
            continue
        earlier = first.setdefault(look.small, number)
        if earlier != number and _agree(looks, earlier, number, same):
            yield earlier, number
    numbers = np.array(sorted(first.values()), dtype=np.int64)
    if len(numbers) < 2:
        return
    pictures_NC = np.frombuffer(b"".join(looks[number].small for number in numbers), np.uint8)
    pictures_NC = pictures_NC.reshape(len(numbers), SIDE * SIDE)
    said = pictures_NC.std(axis=1) >= LEAST_SPREAD
    numbers, pictures_NC = numbers[said], pictures_NC[said]
    for earlier_P, later_P in _near(pictures_NC):
        for one, other in zip(numbers[earlier_P].tolist(), numbers[later_P].tolist(), strict=True):
            if _agree(looks, one, other, same):
                yield one, other


def _near(pictures_NC: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (P,), (P,) of places of pictures that are nearly equal, the earlier ones and the later ones."""
    count, step = len(pictures_NC), SIDE // COARSE
    coarse_NQ = pictures_NC.reshape(count, COARSE, step, COARSE, step).mean(axis=(2, 4), dtype=np.float32)
    coarse_NQ = coarse_NQ.reshape(count, COARSE * COARSE)
    order = np.argsort(coarse_NQ.mean(axis=1), kind="stable")
    sorted_NQ, bright_N = coarse_NQ[order], coarse_NQ.mean(axis=1)[order]
    squares_N = np.square(sorted_NQ).sum(axis=1)
    for start in range(0, count, BLOCK):
        stop = min(count, start + BLOCK)
        # Nearly equal pictures are equally bright, so what is to be compared lies behind in a stretch.
        end = int(np.searchsorted(bright_N, bright_N[stop - 1] + MEAN_LEVELS, side="right"))
        squared_RN = squares_N[start:stop, None] + squares_N[None, start:end]
        squared_RN -= 2 * sorted_NQ[start:stop] @ sorted_NQ[start:end].T
        rows, columns = np.nonzero(squared_RN <= COARSE_LEVELS**2 * COARSE**2)
        ahead = columns > rows
        one_P, other_P = order[start + rows[ahead]], order[start + columns[ahead]]
        yield from _closely(pictures_NC, np.minimum(one_P, other_P), np.maximum(one_P, other_P))


def _closely(
    pictures_NC: np.ndarray, earlier_P: np.ndarray, later_P: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Those of some pairs that are nearly equal in every cell."""
    sorting = np.lexsort((earlier_P, later_P))
    earlier_P, later_P = earlier_P[sorting], later_P[sorting]
    # The place of each pair among those of its later page.
    _, begins, counts = np.unique(later_P, return_index=True, return_counts=True)
    place_P = np.arange(len(later_P)) - np.repeat(begins, counts)
    earlier_P, later_P = earlier_P[place_P < CLOSELY], later_P[place_P < CLOSELY]
    for start in range(0, len(later_P), PAIRS):
        one_P, other_P = earlier_P[start : start + PAIRS], later_P[start : start + PAIRS]
        difference_PC = np.abs(pictures_NC[one_P].astype(np.int16) - pictures_NC[other_P])
        near = (difference_PC.max(axis=1) <= MOST_LEVELS) & (difference_PC.mean(axis=1) <= MEAN_LEVELS)
        yield one_P[near], other_P[near]


def _agree(looks: Sequence[Look], one: int, other: int, same: Callable[[int, int], bool]) -> bool:
    """Whether two that look the same are: in shape, and by their texts or, where one has none, closely."""
    first, second = looks[one], looks[other]
    if abs(first.ratio - second.ratio) > 0.02 * max(first.ratio, second.ratio):
        return False
    if not (first.text.strip() and second.text.strip()):
        return same(one, other)
    if first.shingles and second.shingles:
        return share(first.shingles, second.shingles) >= ALIKE
    return _WORD.findall(first.text.casefold()) == _WORD.findall(second.text.casefold())
