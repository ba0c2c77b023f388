"""Which pages count as nearly the same, and what comparing them costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from sightline.documents.closely import Closely
from sightline.documents.doctor import alike as alike_module
from sightline.documents.doctor.alike import ALIKE, Groups, Look, alike, share, shingles
from sightline.documents.doctor.picture import SIDE, look
from support.sick_datasets import jpeg, picture, text_of


def grouped(looks: list[Look], images: Sequence[bytes] = ()) -> list[int]:
    """The first page of each page's group; without images those that look the same count as the same."""
    groups = alike(looks, Closely(images.__getitem__).same if images else lambda one, other: True)
    return [groups.of(number) for number in range(len(looks))]


def seen(content: bytes, text: str = "") -> Look:
    facts = look(content)
    assert facts.error == ""
    return Look(text, facts.small, facts.width / facts.height)


def test_the_same_picture_saved_otherwise() -> None:
    large = picture(1, (960, 1280))
    filled = large.copy()
    ImageDraw.Draw(filled).text((700, 500), "8", fill="black", font_size=18)
    images = [
        jpeg(large),
        jpeg(large, quality=60),
        jpeg(large.resize((680, 906))),
        jpeg(picture(2, (960, 1280))),
        jpeg(large.resize((960, 900))),
        jpeg(filled),
        jpeg(large.convert("L"), quality=80),
    ]
    # A form without text that differs in one digit is another page.
    assert grouped([seen(image) for image in images], images) == [0, 0, 0, 3, 4, 5, 0]


def test_forms_with_other_text_are_other_pages() -> None:
    form = jpeg(picture(1))
    filled = text_of(1, 60)
    looks = [
        seen(form, filled),
        seen(form, text_of(2, 60)),
        seen(form, filled.replace(filled.split()[7], "other", 1)),
        seen(jpeg(picture(3)), "Total 1,204"),
        seen(jpeg(picture(3), quality=60), "Total 1,205"),
        seen(jpeg(picture(3), quality=50), "total: 1,205"),
    ]
    assert grouped(looks) == [0, 1, 0, 3, 4, 4]


@pytest.mark.parametrize("changed", [2, 30])
def test_texts_are_found_by_their_share(changed: int) -> None:
    words = text_of(1, 400).split()
    other = list(words)
    for place in np.random.default_rng(0).choice(400, changed, replace=False):
        other[place] = f"word{place}"
    looks = [Look(" ".join(words)), Look(text_of(2, 400)), Look(" ".join(other))]
    is_near = share(looks[0].shingles, looks[2].shingles) >= ALIKE
    assert is_near == (changed == 2)
    assert grouped(looks) == [0, 1, 0 if is_near else 2]


def test_short_texts_and_empty_pages_say_nothing() -> None:
    assert shingles("Page 7 of 12") == frozenset()
    flat = look(jpeg(picture(0).resize((1, 1)).resize((200, 300))))
    looks = [
        Look("Page 7 of 12"),
        Look("Page 7 of 12"),
        Look("", flat.small, 1.0),
        Look("", bytes(SIDE * SIDE), 1.0),
    ]
    assert grouped(looks) == [0, 1, 2, 3]


def test_pairs_are_those_of_comparing_all_with_all() -> None:
    chance = np.random.default_rng(0)
    base = chance.integers(0, 256, (40, SIDE * SIDE))
    pictures = np.concatenate([base, np.clip(base + chance.integers(-3, 4, base.shape), 0, 255)]).astype(
        np.uint8
    )
    chance.shuffle(pictures)
    looks = [Look("", one.tobytes(), 1.0) for one in pictures]
    wanted = Groups(len(looks))
    for later in range(len(looks)):
        for earlier in range(later):
            difference = np.abs(pictures[earlier].astype(int) - pictures[later])
            if difference.max() <= 24 and difference.mean() <= 3:
                wanted.join(earlier, later)
    assert grouped(looks) == [wanted.of(number) for number in range(len(looks))]
    assert len(set(grouped(looks))) == 40


def test_of_thousands_of_pages_of_one_look_few_are_compared_cell_by_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    closely = alike_module._closely

    def counted(pictures_NC: np.ndarray, earlier_P: np.ndarray, later_P: np.ndarray) -> Iterator[Any]:
        nonlocal compared
        compared += len(later_P)
        return closely(pictures_NC, earlier_P, later_P)

    monkeypatch.setattr(alike_module, "_closely", counted)
    chance = np.random.default_rng(0)
    # Equally bright, of one layout, and no two the same: the most there is to compare.
    page = chance.integers(0, 256, SIDE * SIDE)
    pictures = np.clip(page + chance.normal(0, 12, (4_000, SIDE * SIDE)), 0, 255).astype(np.uint8)
    looks = [Look("", one.tobytes(), 1.0) for one in pictures]
    assert len(set(grouped(looks))) == len(looks)
    assert compared < len(looks), "of eight million pairs"
