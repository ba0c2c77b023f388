"""The contents with what was seen of them: which sheets hold the same, and which nearly the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xxhash

from sightline.documents.closely import Closely
from sightline.documents.doctor.alike import Groups, Look, alike
from sightline.documents.doctor.contents import Contents, Sheet
from sightline.documents.doctor.gallery import Seen, see
from sightline.documents.doctor.memory import Memory

# Less ink than that is dust: 60 of the 60,000 pixels looked at are a word.
BLANK_INK = 0.0005


@dataclass(frozen=True)
class Examined:
    """What the checks work on.

    Attributes:
        contents: what is examined.
        seen: number of a sheet with an image -> what was seen of it; empty where images are left alone.
        keys: of each sheet, equal for equal content; ``""`` where it cannot be read.
        groups: sheets that are nearly the same.
    """

    contents: Contents
    seen: Mapping[int, Seen]
    keys: Sequence[str]
    groups: Groups

    @property
    def sheets(self) -> Sequence[Sheet]:
        return self.contents.sheets

    @cached_property
    def same(self) -> Mapping[str, list[int]]:
        """Content key -> the sheets that hold it, in order."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, key in enumerate(self.keys):
            if key:
                found[key].append(number)
        return found

    @cached_property
    def near(self) -> Mapping[int, list[int]]:
        """The least sheet of a group -> all of it, where it has several."""
        found: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self.sheets)):
            found[self.groups.of(number)].append(number)
        return {leader: members for leader, members in found.items() if len(members) > 1}

    @cached_property
    def answering(self) -> frozenset[int]:
        """The sheets that answer a question."""
        return frozenset(number for one in self.contents.asked for number in one.positives)

    def is_blank(self, number: int) -> bool:
        """Whether there is nothing to be seen or read."""
        sheet, seen = self.sheets[number], self.seen.get(number)
        if sheet.text.strip() or seen is None or seen.picture.error:
            return False
        return seen.picture.ink < BLANK_INK


def examine(
    contents: Contents,
    *,
    workers: int | None = None,
    memory: Memory | None = None,
    tell: Callable[[int], None] | None = None,
) -> Examined:
    """Looks at everything once; see `gallery.see` for the arguments."""
    seen = see(contents.sheets, workers=workers, memory=memory, tell=tell)
    keys = [_key(sheet, seen.get(number)) for number, sheet in enumerate(contents.sheets)]
    looks = [_look(sheet, seen.get(number)) for number, sheet in enumerate(contents.sheets)]
    closely = Closely(lambda number: _file(contents.sheets[number]))
    groups = alike(looks, closely.same)
    numbers = {sheet.name: number for number, sheet in enumerate(contents.sheets)}
    for number, sheet in enumerate(contents.sheets):
        if sheet.like in numbers:
            groups.join(numbers[sheet.like], number)
    return Examined(contents, seen, keys, groups)


def _key(sheet: Sheet, seen: Seen | None) -> str:
    if sheet.key:
        return "" if seen is not None and seen.picture.error else sheet.key
    if seen is not None:
        return "" if seen.picture.error else seen.content_hash
    if sheet.content_hash:
        return sheet.content_hash
    return xxhash.xxh3_128_hexdigest(sheet.text.encode()) if sheet.text.strip() else ""


def _file(sheet: Sheet) -> Path | bytes:
    assert sheet.image is not None
    return sheet.image if isinstance(sheet.image, Path) else sheet.image()


def _look(sheet: Sheet, seen: Seen | None) -> Look:
    if seen is None or seen.picture.error or sheet.compared:
        return Look(sheet.text)
    picture = seen.picture
    return Look(sheet.text, picture.small, picture.width / picture.height)
