"""How much of real pages OCR finds: pages with a text layer, rendered and read without it.

    python benchmarks/ocr.py ../shared/data/govdocs/documents --pages 12

Words are compared as a bag, because text in columns has more than one order. The character error rate is the
edit distance in the order each side gives, over the letters of the text layer, white space folded; on pages in
columns most of it is that order.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pypdfium2

from sightline.documents.ocr import installed, recognise
from sightline.documents.pdf import render
from sightline.documents.rawpages import OCR_PIXELS
from sightline.documents.text import normalise

MIN_WORDS = 50


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's, a row of the table at a time."""
    letters = np.array([ord(letter) for letter in second])
    steps = np.arange(len(second) + 1)
    row = steps.copy()
    for number, letter in enumerate(first, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(letter)))
        # An insertion costs one more per place: the least so far, with the places counted out and in again.
        row = np.minimum.accumulate(np.concatenate(([number], best)) - steps) + steps
    return int(row[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=12)
    given = parser.parse_args()
    pages = []
    for path in sorted(given.folder.glob("*.pdf")):
        document = pypdfium2.PdfDocument(path)
        pages += [(path, number) for number in range(len(document))]
    random.Random(0).shuffle(pages)
    print(f"{installed()}, {OCR_PIXELS / 1e6:g} megapixels, one thread")
    found, rates, seconds = Counter(), [], []
    for path, number in pages:
        page = pypdfium2.PdfDocument(path)[number]
        truth = normalise([page.get_textpage().get_text_bounded()])[0]
        if len(truth.split()) < MIN_WORDS:
            continue
        image = render(page, OCR_PIXELS)
        started = time.process_time()
        text = recognise(image)
        seconds.append(time.process_time() - started)
        wanted, got = (Counter(re.findall(r"\w+", side.casefold())) for side in (truth, text))
        shared = (wanted & got).total()
        found.update(wanted=wanted.total(), got=got.total(), shared=shared)
        rates.append(
            edit_distance(" ".join(truth.split()), " ".join(text.split())) / len(" ".join(truth.split()))
        )
        print(
            f"{path.name} page {number}: {wanted.total()} words, {shared / wanted.total():.3f} of them found, "
            f"{shared / max(1, got.total()):.3f} of those found are right, "
            f"character error rate {rates[-1]:.3f}, {seconds[-1]:.1f} s",
            flush=True,
        )
        if len(rates) == given.pages:
            break
    print(
        f"{len(rates)} pages, {found['wanted']:,} words: {found['shared'] / found['wanted']:.3f} found, "
        f"{found['shared'] / found['got']:.3f} right; character error rate {statistics.median(rates):.3f} (median); "
        f"{statistics.mean(seconds):.1f} s of one core per page"
    )


if __name__ == "__main__":
    main()
