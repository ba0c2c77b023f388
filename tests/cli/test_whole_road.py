"""docs/from-pdfs-to-report.sh, run small on real documents: every step leaves what the next one and a person need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.documents.dataset import Dataset
from sightline.models.encoder import Encoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.shared
@pytest.mark.slow
def test_from_pdfs_to_report(shared: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "SMALL": "1",
        "OCR": "none",
        "DATA": str(shared),
        "OUT": str(tmp_path / "road"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
    }
    script = ["bash", str(ROOT / "docs" / "from-pdfs-to-report.sh")]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "road"
    data = Dataset.load(out / "pages")
    assert (len(data.documents), len(data.pages)) == (4, 36)
    # One of the two documents with questions by people is held out; made ones are about the other documents.
    assert {item.origin for item in data.questions("test")} == {"person"}
    assert {item.origin for item in data.questions("train")} == {"person", "offline"}
    mined = {name for row in data.mined().rows for name in row.negatives}
    assert len(mined) > 5
    assert not mined & set(data.corpus("text", "test"))
    findings = json.loads((out / "check.json").read_text())["findings"]
    assert not [one for one in findings if one["severity"] == "error"]
    for run in ("made", "both"):
        assert Encoder.from_pretrained(out / run / "final", device="cpu").embedding_dim == 384
    saved = json.loads((out / "results.json").read_text())
    assert [row["name"] for row in saved["rows"]] == ["untuned", "bm25", "made", "both"]
    for row in saved["rows"]:
        assert 0.3 < row["ndcg@10"] < 1  # of 15 pages, and with a model that works
    assert "| made | text |" in (out / "results.md").read_text()
    for name in ("report.html", "cost.svg"):
        assert (out / name).stat().st_size > 5_000
