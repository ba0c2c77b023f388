"""Pages that are nearly the same, across the whole dataset.

Two pages are, when their images are close by perceptual hash and their texts agree: either as the same bag
of words, or nearly so (text recognised twice differs a little; pages without text have none to differ in)
while the images are the same cell by cell. So two forms that differ in what is filled in are two pages.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.documents.closely import Closely
from sightline.documents.likeness import near_pairs
from sightline.documents.records import Document, Page

if TYPE_CHECKING:
    import numpy as np

MAX_DISTANCE = 6  # bits of the 64 of the hash
MIN_SIMILARITY = 0.8
# Fewer words may be the frame that every slide of a deck has around another picture.
MIN_WORDS = 20
MOST_CANDIDATES = 16  # compared with each page; pages that look alike without being the same are many
_WORD = re.compile(r"\w+")


def mark_duplicates(documents: Sequence[Document], root: Path) -> list[Document]:
    """The documents with `Page.duplicate_of` set anew; images are read from below ``root``.

    The first of pages that are nearly the same, in the order given, is the one the others name.
    """
    pages = [page for document in documents for page in document.pages]
    same_as = _Search(pages, root).run()
    return [
        item.with_pages([replace(page, duplicate_of=same_as.get(page.page_id, "")) for page in item.pages])
        for item in documents
    ]


class _Search:
    """One pass over the pages; ``leaders`` are those that are like no earlier one.

    A page is a position in ``pages`` here.
    """

    def __init__(self, pages: Sequence[Page], root: Path) -> None:
        import numpy as np

        self._pages = pages
        self._closely = Closely(lambda page: root / pages[page].image)
        self._bags = [_bag(page.text) for page in pages]
        self._hashes = [int(page.image_hash or "0", 16) for page in pages]
        distinct = sorted(set(self._hashes))
        self._near: dict[int, list[int]] = {}  # hash -> others close to it
        for later, earlier in near_pairs(np.array(distinct, np.uint64), MAX_DISTANCE, MOST_CANDIDATES):
            self._near.setdefault(distinct[later], []).append(distinct[earlier])
            self._near.setdefault(distinct[earlier], []).append(distinct[later])
        self._by_hash: dict[int, list[int]] = {}
        self._by_words: dict[bytes, list[int]] = {}

    def run(self) -> dict[str, str]:
        """The page_id of the first page like it, by the page_id of each page that has one."""
        seen: dict[tuple[str, bytes], int] = {}  # image file and words -> leader
        found: dict[str, str] = {}
        for page, record in enumerate(self._pages):
            words = _digest(self._bags[page])
            leader = seen.get((record.content_hash, words))
            if leader is None:
                leader = self._leader(page, words)
                seen[record.content_hash, words] = page if leader is None else leader
            if leader is not None:
                found[record.page_id] = self._pages[leader].page_id
                continue
            self._by_hash.setdefault(self._hashes[page], []).append(page)
            if len(self._bags[page]) >= MIN_WORDS:
                self._by_words.setdefault(words, []).append(page)
        return found

    def _leader(self, page: int, words: bytes) -> int | None:
        """The earliest leader that a page is like."""
        mine = self._hashes[page]
        if len(self._bags[page]) >= MIN_WORDS:
            for other in self._by_words.get(words, ()):
                if (mine ^ self._hashes[other]).bit_count() <= MAX_DISTANCE:
                    return other
        candidates = [
            other for value in (mine, *self._near.get(mine, ())) for other in self._by_hash.get(value, ())
        ]
        for other in sorted(candidates[:MOST_CANDIDATES]):
            if _similar(self._bags[page], self._bags[other]) and self._closely.same(page, other):
                return other
        return None


def _bag(text: str) -> np.ndarray:
    """Checksums of a text's words, sorted, each as often as it occurs."""
    import numpy as np

    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return np.sort(np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint32, len(words)))


def _digest(bag: np.ndarray) -> bytes:
    return hashlib.blake2b(bag.tobytes(), digest_size=16).digest()


def _similar(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two bags share enough (Dice's coefficient of their different words); empty ones agree."""
    import numpy as np

    shorter, longer = sorted((len(first), len(second)))
    if shorter < MIN_SIMILARITY * longer:
        return False
    one, other = np.unique(first), np.unique(second)
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return 2 * shared >= MIN_SIMILARITY * (len(one) + len(other))
