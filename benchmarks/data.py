"""Real texts and page images of the benchmarks, the same on every run and every machine.

Everything is cut out of the PDFs in ``../shared/data`` (see the READMEs there); nothing of it is kept in the
repository. Words and rendered pages are cached in the system's folder for temporary files.

    triplets(64)                 64 (anchor, positive, negative): 5 to 40 words, and 5 to 400 twice
    texts(5_000)                 5,000 texts of 5 to 400 words
    page_images(100)             paths of 100 page images, 600x800
    page_triplets(16)            16 (question, path of its page, path of another page of that document)
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image

DATA = Path(os.environ.get("SIGHTLINE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
CACHE = Path(tempfile.gettempdir()) / "sightline-benchmarks"

LENGTHS = (5, 400)  # words per text
ANCHOR_LENGTHS = (5, 40)
PAGE_SIZE = (600, 800)  # width, height in pixels


def texts(number: int, *, lengths: tuple[int, int] = LENGTHS, seed: int = 0) -> list[str]:
    """Distinct passages whose lengths in words are drawn evenly from ``lengths``, both ends included."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < number:
        found.setdefault(_passage(draw, lengths))
    return list(found)


def triplets(
    number: int,
    *,
    lengths: tuple[int, int] = LENGTHS,
    anchor_lengths: tuple[int, int] = ANCHOR_LENGTHS,
    seed: int = 0,
) -> list[dict[str, str]]:
    """Rows of anchor, positive (the passage that follows the anchor) and negative (another passage).

    Anchors are short, as questions are; lengths are in words, drawn evenly. All texts differ from each other, so
    that no item of a batch can be embedded in place of another.
    """
    draw = random.Random(seed)
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(rows) < number:
        anchor_length, positive_length = draw.randint(*anchor_lengths), draw.randint(*lengths)
        words = _document(draw)
        begin = draw.randrange(max(1, len(words) - anchor_length - positive_length))
        middle = begin + anchor_length
        cells = [
            " ".join(words[begin:middle]),
            " ".join(words[middle : middle + positive_length]),
            _passage(draw, lengths),
        ]
        if all(cells) and len(seen | set(cells)) == len(seen) + 3:
            seen.update(cells)
            rows.append(dict(zip(("anchor", "positive", "negative"), cells, strict=True)))
    return rows


def page_images(number: int, *, size: tuple[int, int] = PAGE_SIZE) -> list[Path]:
    """Distinct pages as PNG files of ``size`` (width, height); RGB."""
    pages = [(path, page) for path in _pdfs() for page in range(_page_count(path))]
    random.Random(0).shuffle(pages)
    if number > len(pages):
        raise ValueError(f"{DATA} has {len(pages)} pages, not {number}")
    return [_rendered(path, page, size) for path, page in pages[:number]]


def page_triplets(number: int, *, size: tuple[int, int] = PAGE_SIZE) -> list[tuple[str, Path, Path]]:
    """Real questions with their page and another page of the same document; no page comes twice."""
    lines = (DATA / "longdocs" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    used: set[tuple[str, int]] = set()
    found = []
    for row in map(json.loads, lines):
        path = DATA / "longdocs" / "documents" / row["document"]
        free = [page for page in range(_page_count(path)) if (row["document"], page) not in used]
        right = [page for page in row["pages"] if page in free]
        wrong = [page for page in free if page not in row["pages"]]
        if not right or not wrong:
            continue
        chosen = right[0], wrong[len(wrong) // 2]
        used |= {(row["document"], page) for page in chosen}
        found.append((row["query"], *(_rendered(path, page, size) for page in chosen)))
        if len(found) == number:
            return found
    raise ValueError(f"longdocs has questions for {len(found)} triplets, not {number}")


def opened(path: Path) -> Image.Image:
    """The image in memory."""
    with Image.open(path) as image:
        return image.convert("RGB")


def _passage(draw: random.Random, lengths: tuple[int, int]) -> str:
    length, words = draw.randint(*lengths), _document(draw)
    begin = draw.randrange(max(1, len(words) - length))
    return " ".join(words[begin : begin + length])


def _document(draw: random.Random) -> list[str]:
    """The words of one document, long ones more often."""
    documents = _words()
    return draw.choices(documents, weights=[len(words) for words in documents])[0]


@cache
def _words() -> list[list[str]]:
    """Words of every PDF that has a text layer of at least a few pages."""
    kept = CACHE / "words.json"
    if not kept.is_file():
        documents = [" ".join(_page_texts(path)).split() for path in _pdfs()]
        _replace(kept, json.dumps([words for words in documents if len(words) >= 2_000]).encode())
    return json.loads(kept.read_text(encoding="utf-8"))


@cache
def _pdfs() -> list[Path]:
    found = [path for name in ("longdocs", "govdocs") for path in sorted((DATA / name).rglob("*.pdf"))]
    if not found:
        raise FileNotFoundError(f"no PDFs under {DATA}; set SIGHTLINE_SHARED_DATA to the folder of the data")
    return found


@cache
def _page_count(path: Path) -> int:
    import pypdfium2

    with pypdfium2.PdfDocument(path) as document:
        return len(document)


def _page_texts(path: Path) -> Iterator[str]:
    import pypdfium2

    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            yield page.get_textpage().get_text_bounded()


def _rendered(path: Path, page: int, size: tuple[int, int]) -> Path:
    """The page squeezed into exactly ``size``, so that every image costs the same."""
    import pypdfium2

    kept = CACHE / f"{size[0]}x{size[1]}" / f"{path.stem}-{page}.png"
    if not kept.is_file():
        with pypdfium2.PdfDocument(path) as document:
            sheet = document[page]
            scale = 1.5 * max(size[0] / sheet.get_width(), size[1] / sheet.get_height())
            image = sheet.render(scale=scale).to_pil().convert("RGB").resize(size, Image.Resampling.LANCZOS)
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        image.save(aside, format="PNG")
        aside.replace(kept)
    return kept


def _replace(path: Path, content: bytes) -> None:
    """Written aside first: another benchmark may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)
