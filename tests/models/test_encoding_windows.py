"""Windows and slices: every input once, in order, like with like."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.inputs.parse import parse
from sightline.models.encoding_windows import Window, size_of, slices, windows
from sightline.types import Item, Part


def page(number: int) -> Item:
    return Item((Part("image", b"x"), Part("text", "t" * number)), f"page {number}")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.integers(1, 9), st.integers(1, 5), st.integers(1, 20))
def test_every_input_has_one_place(numbers: list[int], texts: int, media: int, size: int) -> None:
    import pytest

    items = [page(number) if number % 3 == 0 else parse("t" * number) for number in numbers]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.models.encoding_windows.TEXT_WINDOW", size)
        found = list(windows(iter(items)))
    keys: list[str] = []
    for window in found:
        own = [item.key for item in window.items]
        assert len(set(own)) == len(own)
        assert not set(own) & set(keys)  # nothing is embedded twice
        keys += [own[place] if place >= 0 else keys[-1 - place] for place in window.places]
        assert window.repeated == sum(place < 0 for place in window.places)
        check_slices(window, texts, media)
    assert keys == [item.key for item in items]


def check_slices(window: Window, texts: int, media: int) -> None:
    cut = slices(window, texts=texts, media=media)
    assert [piece.last for piece in cut] == [False] * (len(cut) - 1) + [True]
    order = [number for piece in cut for number in piece.numbers]
    assert sorted(order) == list(range(len(window.items)))
    sizes = [size_of(window.items[number]) for number in order]
    assert sizes == sorted(sizes, key=lambda size: (-size[1], -size[0]))
    for piece in cut:
        with_media = {bool(size_of(window.items[number])[1]) for number in piece.numbers}
        assert len(with_media) <= 1
        assert len(piece.numbers) <= (media if True in with_media else texts)
