"""What can be wrong with a page, or with a cell of a table that is to be found."""

from __future__ import annotations

from collections.abc import Iterator

from sightline.documents.doctor.examined import Examined
from sightline.documents.doctor.findings import Case, Drop
from sightline.documents.records import MAX_ASPECT

# Models see a few million pixels at most; what is far above costs time at every step.
OVERSIZE_PIXELS = 16_000_000


def check_pages(examined: Examined) -> Iterator[Case]:
    """Unreadable, changed, blank, repeated and oversize pages."""
    if not examined.sheets:
        yield Case("empty", examined.contents.subject, "there is no page in it")
    yield from _files(examined)
    yield from _repeated(examined)


def _files(examined: Examined) -> Iterator[Case]:
    for number, seen in examined.seen.items():
        sheet, picture = examined.sheets[number], seen.picture
        drop = (Drop("sheet", number),)
        if picture.error:
            yield Case("unreadable", sheet.name, picture.error, drop)
        elif sheet.content_hash and seen.content_hash != sheet.content_hash:
            yield Case("changed", sheet.name, "its image is not the file that was ingested", drop)
        elif max(picture.width, picture.height) > MAX_ASPECT * min(picture.width, picture.height):
            size = f"{picture.width} x {picture.height} pixels"
            yield Case("unreadable", sheet.name, f"{size} are a strip longer than {MAX_ASPECT} : 1", drop)
        elif picture.width * picture.height > OVERSIZE_PIXELS:
            pixels = picture.width * picture.height / 1e6
            yield Case("oversize", sheet.name, f"{pixels:.0f} million pixels, opened at every step")
        elif examined.is_blank(number):
            yield Case("blank", sheet.name, "nothing to see and no text")


def _repeated(examined: Examined) -> Iterator[Case]:
    sheets = examined.sheets
    first = {number: members[0] for members in examined.same.values() for number in members}
    if not examined.contents.table:  # in a table a document may well stand in many rows
        for number, earlier in first.items():
            if number != earlier:
                yield Case("duplicate", sheets[number].name, f"the same as {sheets[earlier].name}")
    for leader, members in sorted(examined.near.items()):
        for number in members[1:]:
            if examined.keys[number] != examined.keys[leader] and first.get(number, number) == number:
                yield Case("near-duplicate", sheets[number].name, f"nearly the same as {sheets[leader].name}")
