"""README.md: its figures are those kept of a run, its commands exist, its links and pictures lead somewhere."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from sightline.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "readme.py"))


def test_the_figures_are_those_of_the_run_that_was_kept() -> None:
    figures = json.loads(SCRIPT["KEPT"].read_text(encoding="utf-8"))
    assert SCRIPT["written"](TEXT, figures) == TEXT, "run scripts/readme.py"
    # A figure that changes is one that the text changes with.
    figures["rows"][-1]["ndcg@10"] += 0.001
    assert SCRIPT["written"](TEXT, figures) != TEXT


def test_figures_are_read_off_a_run(tmp_path: Path) -> None:
    """Of a folder as `sightline demo` leaves it."""
    from sightline.documents.dataset import Dataset
    from support.sick_datasets import healthy

    dataset = Dataset.load(healthy(tmp_path / "dataset").write())
    names = [("bm25", "text"), ("untuned", "text"), ("fine-tuned", "text")]
    rows = [
        {"name": name, "fields": view, "ndcg@10": 0.12345, "map": 0.2, "recall@10": 0.3}
        | ({} if name == "bm25" else {"ndcg@10@32": 0.5, "ndcg@10@16": 0.4, "ndcg@10@8": 0.3})
        for name, view in names
    ]
    before, after = ({"name": name, "fields": "text"} for name in ("untuned", "fine-tuned"))
    lead = {"before": before, "after": after, "difference": 0.0776, "low": 0.04347, "high": -0.1}
    facts = {"questions": 4, "pages": 3, "documents": 2}
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows, "comparisons": [lead], "facts": facts}))
    figures = SCRIPT["figures_of"](tmp_path)
    assert figures["documents"] == len(dataset.documents)
    assert figures["questions"] == len(dataset.all_questions)
    block = SCRIPT["block"](figures)
    assert "| | pages seen as | NDCG@10 | MAP | Recall@10 | NDCG@10 at 16 | 8 dimensions |" in block
    assert "| BM25 | text layer | 0.123 | 0.200 | 0.300 | – | – |" in block
    assert "| **fine-tuned model** | **text layer** | **0.123** |" in block
    assert "+0.078 NDCG@10, 95 % interval +0.043 to -0.100" in block


def commands() -> list[str]:
    """Every line of a shell in README.md that calls Sightline."""
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("sightline ")]


@pytest.mark.parametrize("line", commands())
def test_commands_and_their_options_exist(line: str) -> None:
    _, *arguments = shlex.split(line)
    command: Any = get_command(app)
    while isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    given = {one.partition("=")[0] for one in arguments if one.startswith("-")}
    assert given <= known


def test_links_and_pictures_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT)
    assert len(targets) > 20
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_is_in_the_tree() -> None:
    tree = TEXT[TEXT.index("cli/                 sightline") : TEXT.index("recipes/             ")]
    assert set(get_command(app).commands) <= set(re.findall(r"\w+", tree))  # type: ignore[attr-defined]
