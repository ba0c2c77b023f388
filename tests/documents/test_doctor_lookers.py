"""Images are opened in child processes: one that dies or hangs costs its image only."""

from __future__ import annotations

import io
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from sightline.documents.doctor import lookers
from sightline.documents.doctor.lookers import Lookers, Named
from sightline.documents.doctor.picture import Picture, look
from support.sick_datasets import jpeg, picture


def slow() -> bytes:
    """An image that takes some seconds to open: 60 million pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (10_000, 6_000)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 3.6 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_images_are_seen_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_bytes(jpeg(picture(5, (300, 400))))
    images: list[Named] = [(7, tmp_path / "page.jpg"), (8, bomb()), (9, b"no image"), (3, jpeg(picture(6)))]
    with closing(Lookers(2)) as pool:
        found = dict(pool.look(images))
    assert {number: (one.width, one.height) for number, one in found.items()} == {
        7: (300, 400), 8: (0, 0), 9: (0, 0), 3: (240, 320),
    }  # fmt: skip
    assert found[7] == look(tmp_path / "page.jpg")
    assert 0.01 < found[7].ink < 0.6
    assert "megapixels" in found[8].error
    assert "not an image" in found[9].error


@pytest.mark.parametrize("hangs", [False, True], ids=["killed", "hanging"])
def test_a_process_that_is_lost_costs_one_image(monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    pool = Lookers(1)
    given: list[int] = []

    def images() -> Iterator[Named]:
        yield 0, jpeg(picture(0))
        for number in (1, 2, 3):
            given.append(number)
            yield number, slow() if number == 1 else jpeg(picture(number))

    found: dict[int, Picture] = {}
    with closing(pool):
        for number, facts in pool.look(images()):
            if not found:  # it has said that it is ready, and the others wait behind the slow one
                (looker,) = pool._lookers
                if hangs:
                    monkeypatch.setattr(lookers, "PICTURE_SECONDS", 0.2)
                    looker.deadline = 0.0
                    os.kill(looker.child.process.pid, signal.SIGSTOP)
                else:
                    os.kill(looker.child.process.pid, signal.SIGKILL)
            elif hangs:
                monkeypatch.setattr(lookers, "PICTURE_SECONDS", 20.0)
            found[number] = facts
    assert sorted(found) == [0, 1, 2, 3]
    wanted = "took longer than" if hangs else "signal SIGKILL"
    assert [number for number, one in found.items() if one.error] == [1]
    assert wanted in found[1].error


def test_no_process_is_left(tmp_path: Path) -> None:
    with closing(Lookers(2)) as pool:
        list(pool.look([(0, jpeg(picture(0))), (1, jpeg(picture(1)))]))
        children = [looker.child.process for looker in pool._lookers]
        assert all(child.poll() is None for child in children)
    assert all(child.poll() is not None for child in children)
