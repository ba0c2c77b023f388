"""docs/papers.md: every public loss has its entry, and every paper that the losses' code cites stands there."""

from __future__ import annotations

import re
from pathlib import Path

import sightline

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "sightline"
# Adds up other losses: a plus sign has no paper.
WITHOUT_PAPER = {"Sum"}
CITED = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.[\w./]*\w")


def entries() -> list[list[str]]:
    """Method, paper, identifiers and place of each line of the table."""
    text = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_public_loss_has_an_entry() -> None:
    public = {name for name, home in sightline._HOMES.items() if home.startswith("sightline.losses.")}
    named = {word for method, *_ in entries() for word in re.findall(r"\w+", method)}
    assert public - named == WITHOUT_PAPER


def test_entries_name_a_paper_and_files_that_exist() -> None:
    for method, paper, identifiers, place in entries():
        assert paper, method
        assert not identifiers or CITED.findall(identifiers) == re.split(r",\s*", identifiers), method
        files = re.findall(r"`([\w/]+\.py)`", place)
        assert all((SOURCE / file).is_file() for file in files), method


def test_what_the_code_of_the_losses_cites_stands_there() -> None:
    listed = {found for _, _, identifiers, _ in entries() for found in CITED.findall(identifiers)}
    cited = {
        found
        for path in (SOURCE / "losses").glob("*.py")
        for found in CITED.findall(path.read_text(encoding="utf-8"))
    }
    assert len(cited) > 15
    assert cited <= listed
