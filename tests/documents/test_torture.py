"""Odd, broken, encrypted and oversized real files: refused by name or read, within the limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.documents.dataset import Dataset

RUN = """
import json, resource, sys
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
report = ingest(sys.argv[1], sys.argv[2], workers=2, settings=IngestSettings(ocr="none"))
# Not ru_maxrss, which starts at what the starting process (a test runner with torch loaded) had.
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
readers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
mib = (own + 2 * readers) / 1024
print(json.dumps({"refusals": report.refusals, "partial": len(report.partial), "mib": mib}))
"""


@pytest.mark.shared
@pytest.mark.parametrize(("kind", "read", "refused"), [("pdf", 117, 1), ("images", 170, 48), ("exif", 9, 0)])
def test_torture(shared, tmp_path, kind, read, refused):
    source = shared / "torture" / kind
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(source), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    outcome = json.loads(run.stdout)
    data = Dataset.load(tmp_path / "out")
    status = [item.status for item in data.documents]
    assert (status.count("ok"), status.count("skipped")) == (read, refused)
    assert len(data.documents) == sum(path.is_file() for path in source.iterdir())
    assert outcome["partial"] == 0
    assert outcome["mib"] < 2048
    for line in outcome["refusals"]:
        name, cause = line.split(": ", 1)
        assert (source / name).is_file()
        assert len(cause) > 10
        assert "took longer" not in cause
        assert "crashed" not in cause
    if kind == "pdf":
        assert "encrypted and needs a password" in outcome["refusals"][0]
    if kind == "exif":
        shapes = {(page.width, page.height) for page in data.pages}
        assert len(shapes) == 1, "all nine are the same picture, upright"


@pytest.mark.shared
def test_real_report_has_its_text_and_pages(shared, tmp_path):
    from sightline.documents.ingest import ingest
    from sightline.documents.records import IngestSettings

    (tmp_path / "in").mkdir()
    for name in ("PH_2016.06.08_Economy-Final.pdf", "b3m5kaeqm2w8n4bwcesw-140602121350-phpapp02_95.pdf"):
        (tmp_path / "in" / name).symlink_to(shared / "longdocs" / "documents" / name)
    ingest(tmp_path / "in", tmp_path / "out", settings=IngestSettings(ocr="none"))
    data = Dataset.load(tmp_path / "out")
    report = data.page("PH_2016.06.08_Economy-Final.pdf#p4")
    assert "upward mobility" in report.text
    assert 0.99e6 <= report.width * report.height <= 1e6
    scans = [page for page in data.pages if page.document.startswith("b3m5")]
    assert {page.text_source for page in scans} == {"none"}
    assert all(Path(page.image).stat().st_size > 5_000 for page in scans)
