"""One file to pages: sizes, text layer, refusals."""

from __future__ import annotations

import hashlib
import math

import pytest
from PIL import Image

from sightline.documents.pages import check_file, hash_file, read_pages
from sightline.documents.rawpages import RawPage, fit
from sightline.documents.records import IngestSettings, image_location
from sightline.errors import ConfigError, MediaError

SETTINGS = IngestSettings(pixels=100_000)


def read(path, root, settings=SETTINGS, first=0):
    count, *pages = read_pages(path, root, settings, first)
    return count, pages


@pytest.mark.parametrize(
    ("width", "height", "pixels"),
    [
        (595.3, 841.9, 1_000_000),
        (842, 595, 1_000_000),
        (3.75, 3.75, 50_000),
        (14_400, 100, 1_000_000),
        (1, 1, 1000),
    ],
)
def test_fit_keeps_aspect_and_budget(width, height, pixels):
    columns, rows = fit(width, height, pixels)
    assert columns * rows <= pixels
    assert columns * rows >= 0.95 * pixels
    assert columns / rows == pytest.approx(width / height, rel=1.5 / min(columns, rows))


@pytest.mark.parametrize("size", [(0, 10), (math.inf, 10), (math.nan, 10), (-3, 10), (10, 2001), (612, 3e9)])
def test_fit_refuses_sizes_no_model_reads(size):
    with pytest.raises(MediaError, match="page of"):
        fit(*size, 1_000_000)


def test_fit_stays_within_what_jpeg_can_hold():
    columns, rows = fit(200, 1, 64_000_000)
    assert columns <= 65_500
    assert rows >= 1


def test_pdf_pages_have_image_text_and_hash(make_pdf, tmp_path):
    path = make_pdf(tmp_path / "a.pdf", ["Solar output in Lisbon", "Wind speeds in Porto"])
    count, pages = read(path, tmp_path)
    assert count == 2
    assert [page.page for page in pages] == [0, 1]
    assert "Solar output in Lisbon" in pages[0].text
    for page in pages:
        stored = tmp_path / image_location(page.content_hash)
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == page.content_hash
        with Image.open(stored) as image:
            assert image.mode == "RGB"
            assert image.size == (page.width, page.height)
        assert 0.98 * 100_000 <= page.width * page.height <= 100_000
    assert pages[0].content_hash != pages[1].content_hash


def test_rendering_is_deterministic_and_can_start_at_any_page(make_pdf, tmp_path):
    path = make_pdf(tmp_path / "a.pdf", ["one", "two", "three"])
    _, pages = read(path, tmp_path / "x")
    count, rest = read(path, tmp_path / "y", first=1)
    assert count == 3
    assert rest == pages[1:]


def test_rotated_page_is_upright(make_pdf, tmp_path):
    import pypdfium2

    document = pypdfium2.PdfDocument(make_pdf(tmp_path / "a.pdf", ["sideways"], size=(300, 600)))
    document[0].set_rotation(90)
    document.save(tmp_path / "rotated.pdf")
    _, (page,) = read(tmp_path / "rotated.pdf", tmp_path)
    assert page.width > 1.9 * page.height


def test_form_fields_are_drawn(tmp_path):
    from reportlab.lib.colors import black, red
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "form.pdf"), pagesize=(200, 200), invariant=1)
    canvas.acroForm.textfield(name="x", x=20, y=20, width=160, height=160, fillColor=red, borderColor=black)
    canvas.showPage()
    canvas.save()
    _, (page,) = read(tmp_path / "form.pdf", tmp_path)
    with Image.open(tmp_path / image_location(page.content_hash)) as image:
        red_value, green_value, _ = image.getpixel((image.width // 2, image.height // 2))
    assert red_value > 200
    assert green_value < 60


def test_owner_password_opens_and_user_password_is_refused(make_pdf, tmp_path):
    from reportlab.lib.pdfencrypt import StandardEncryption

    free = make_pdf(
        tmp_path / "free.pdf", ["may be read"], encrypt=StandardEncryption("", "owner", strength=128)
    )
    closed = make_pdf(
        tmp_path / "closed.pdf", ["may not"], encrypt=StandardEncryption("user", "owner", strength=128)
    )
    _, (page,) = read(free, tmp_path)
    assert "may be read" in page.text
    with pytest.raises(MediaError, match="encrypted and needs a password"):
        read(closed, tmp_path)


@pytest.mark.parametrize("box", ["0 0 612 3000000000", "0 0 3000000000 3000000000", "0 0 200000 200000"])
def test_page_billions_of_points_high_is_refused_without_drawing_it(raw_pdf, tmp_path, box):
    path = raw_pdf(tmp_path / "huge.pdf", [(box, "0 0 m", "")])
    with pytest.raises(MediaError, match=r"page 0 \(counted from 0\)"):
        read(path, tmp_path)
    assert not (tmp_path / "images").exists()


def test_broken_and_empty_files_are_refused(make_pdf, tmp_path):
    whole = make_pdf(tmp_path / "whole.pdf", ["x" * 50] * 3).read_bytes()
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\n" + whole[200:400])
    (tmp_path / "lies.pdf").write_bytes(b"PK\x03\x04 this is no PDF")
    (tmp_path / "empty.pdf").touch()
    for name in ("broken.pdf", "lies.pdf"):
        with pytest.raises(MediaError, match="broken or not a PDF"):
            read(tmp_path / name, tmp_path)
    with pytest.raises(MediaError, match="empty"):
        check_file(tmp_path / "empty.pdf", SETTINGS)


def test_limits_on_pages_and_file_size(make_pdf, tmp_path):
    path = make_pdf(tmp_path / "long.pdf", ["x"] * 4)
    with pytest.raises(MediaError, match="has 4 pages; at most 3"):
        read(path, tmp_path, IngestSettings(max_pages=3))
    big = tmp_path / "big.pdf"
    with big.open("wb") as file:
        file.truncate(2 << 20)  # sparse
    with pytest.raises(MediaError, match="at most 1 are read"):
        check_file(big, IngestSettings(max_file_mb=1))


def test_hash_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 1000)
    beats = []
    assert hash_file(tmp_path / "f", lambda: beats.append(1)) == hashlib.sha256(b"abc" * 1000).hexdigest()
    assert beats


def test_images_are_made_smaller_never_larger(tmp_path):
    Image.new("RGB", (1000, 500), "teal").save(tmp_path / "large.png")
    Image.new("RGB", (40, 20), "teal").save(tmp_path / "small.png")
    _, (large,) = read(tmp_path / "large.png", tmp_path)
    _, (small,) = read(tmp_path / "small.png", tmp_path)
    assert (large.width, large.height) == (447, 223)
    assert (small.width, small.height) == (40, 20)
    assert large.text == small.text == ""


def test_pdf_and_image_are_known_by_content_not_by_name(make_pdf, tmp_path):
    make_pdf(tmp_path / "a.pdf", ["hello"]).rename(tmp_path / "scan.dat")
    Image.new("RGB", (40, 20)).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "picture")
    assert "hello" in read(tmp_path / "scan.dat", tmp_path)[1][0].text
    assert isinstance(read(tmp_path / "picture", tmp_path)[1][0], RawPage)


def test_other_types_are_refused_as_such(tmp_path):
    (tmp_path / "notes.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 10)
    with pytest.raises(MediaError, match="not a supported type"):
        read(tmp_path / "notes.zip", tmp_path)
    with pytest.raises(MediaError, match="not a supported type"):
        read(tmp_path / "table.csv", tmp_path)
    with pytest.raises(MediaError) as caught:
        read(tmp_path / "torn.png", tmp_path)
    assert "supported type" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"pixels": 0}, {"page_seconds": 0}, {"memory_mb": 10}, {"test_fraction": 1.5}, {"max_pages": 0}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        IngestSettings(**wrong)
