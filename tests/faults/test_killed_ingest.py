"""An ingest that is killed, OCR and LibreOffice in the middle of it, ends with the bytes of one that was not."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.documents.dataset import Dataset
from sightline.documents.fonts import Fonts
from sightline.documents.office import find_office
from sightline.documents.structure import Block
from sightline.documents.typeset import draw, set_pages
from sightline.errors import DataError
from support.office_files import write_docx


def command(folder: Path, out: Path) -> list[str]:
    options = ["--pixels", "60000", "--workers", "2", "--ocr", "missing"]
    return [sys.executable, "-m", "sightline.cli.main", "ingest", str(folder), "-o", str(out), *options]


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scan and a fax to be recognised, a letter for LibreOffice where there is one, and a dozen of notes."""
    base = tmp_path / "in"
    base.mkdir()
    fonts = Fonts()
    scans = []
    for number in range(2):
        (page,) = set_pages([Block("paragraph", f"The pump in hall {number} leaks")], fonts)
        # Strips, because recognition takes as long as there are pixels.
        scans.append(draw(page, (1000, 1415), fonts).crop((60, 60, 560, 160)))
    scans[0].save(base / "scan.pdf", save_all=True, append_images=scans[1:])
    # Copies, because writing a PDF leaves settings with an image.
    scans[0].copy().save(base / "fax.tif", save_all=True, append_images=[scans[1].copy()])
    if find_office() is not None:
        write_docx(base / "letter.docx", ["Dear Sir", "\f", "Yours"])
    for number in range(12):
        (base / f"note{number}.md").write_text(f"# Note {number}\n\nWhat happened on day {number}.\n")
    return base


def test_killed_five_times(folder: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    subprocess.run(command(folder, tmp_path / "whole"), check=True, capture_output=True)
    whole = time.monotonic() - started
    out, chance, killed = tmp_path / "out", random.Random(5), 0
    for _ in range(15):  # a run that was faster than its killer does not count, and what it made goes
        run = subprocess.Popen(command(folder, out), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        started = time.monotonic()
        time.sleep(whole * chance.uniform(0.15, 0.6))
        run.kill()
        run.wait()
        if (
            out / "dataset.json"
        ).exists():  # after it only the journal and what is left over are cleared away
            whole = min(whole, time.monotonic() - started)
            if run.returncode:
                subprocess.run(command(folder, out), check=True, capture_output=True)
            assert contents(out) == contents(tmp_path / "whole")
            shutil.rmtree(out)
        else:
            with pytest.raises(DataError, match=r"did not finish|is not a dataset|no such folder"):
                Dataset.load(out)
            killed += 1
        run.communicate()
        if killed == 5:
            break
    assert killed == 5
    subprocess.run(command(folder, out), check=True, capture_output=True)
    assert contents(out) == contents(tmp_path / "whole")
    texts = {page.page_id: page.text for page in Dataset.load(out).pages}
    assert texts["scan.pdf#p1"] == "The pump in hall 1 leaks"
    assert texts["fax.tif#p0"] == "The pump in hall 0 leaks"
