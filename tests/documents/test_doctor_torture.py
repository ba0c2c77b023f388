"""The data doctor on real files: broken and odd images in a table, and pages of real reports."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.contents import Sheet
from sightline.documents.doctor.gallery import see
from sightline.documents.doctor.memory import Memory
from sightline.runs.check import check_data


@pytest.mark.shared
def test_torture_images(shared: Path, tmp_path: Path) -> None:
    files = sorted(path for path in (shared / "torture" / "images").iterdir() if path.is_file())
    sheets = [Sheet(path.name, "train", image=path) for path in files]
    seen = see(sheets, workers=2, memory=Memory(tmp_path / "facts"))
    assert len(seen) == len(files)
    bad = {sheets[number].name: one.picture.error for number, one in seen.items() if one.picture.error}
    # The same that ingestion refuses; see test_torture.py.
    assert len(bad) == 48
    assert all(len(error) > 10 for error in bad.values())
    for number, one in seen.items():
        if one.content_hash:
            assert one.content_hash == hashlib.sha256(files[number].read_bytes()).hexdigest()


@pytest.mark.shared
def test_a_real_report_with_its_copy(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from sightline.documents.ingest import ingest

    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    report = "PH_2016.06.08_Economy-Final.pdf"
    for name in ("report.pdf", "copy.pdf"):
        (tmp_path / "in" / name).write_bytes((shared / "longdocs" / "documents" / report).read_bytes())
    splits = {"train": ["report.pdf"], "test": ["copy.pdf"]}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    asked = [
        {"id": name, "query": f"What does {name} say of trade?", "document": f"{name}.pdf", "pages": [4]}
        for name in ("report", "copy")
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    ingest(
        tmp_path / "in", tmp_path / "data", questions=tmp_path / "questions.jsonl",
        splits=tmp_path / "splits.json", workers=2,
    )  # fmt: skip
    pages = len(Dataset.load(tmp_path / "data").pages) // 2
    diagnosis = check_data(tmp_path / "data", workers=2).diagnosis
    found = {one.kind: one for one in diagnosis.findings}
    assert found["leak"].places == ("copy",)
    assert found["duplicate"].count == pages
    assert set(found) <= {"leak", "duplicate", "blank", "near-duplicate"}
