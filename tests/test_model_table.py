"""docs/models.md out of facts: rows put together, in order, with the reason of what is missing."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from support.model_facts import KEY, FactsFile

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "models.py"))


def fact(
    architecture: str, modality: str, *checks: str, note: str = "", task: str = "embedding"
) -> dict[str, Any]:
    row = {"task": task, "architecture": architecture, "modality": modality}
    return {**row, "checks": list(checks), "note": note}


def report(outcome: Any, when: Any, facts: list[dict[str, Any]]) -> pytest.TestReport:
    properties = [(KEY, one) for one in facts]
    return pytest.TestReport(
        "a test", ("file", 1, "a test"), {}, outcome, None, when, user_properties=properties
    )


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and "architecture" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_checks_of_several_tests_make_one_row() -> None:
    facts = [
        fact("Zeta", "text", "loads", "trains"),
        fact("Zeta", "text", "saves", "agrees"),
        fact("Alpha", "text+image", "loads", "trains", "saves", note="ST cannot read it"),
        fact("Alpha", "image", "loads", "trains", "saves", note="ST cannot read it"),
        fact("Alpha", "text", "loads"),
    ]
    text = SCRIPT["page"](facts)
    assert rows(text) == [
        ["Alpha", "text", "yes", "no", "no", "no"],
        ["Alpha", "image, text+image [1]", "yes", "yes", "yes", "no"],
        ["Zeta", "text", "yes", "yes", "yes", "yes"],
    ]
    assert text.endswith("1. ST cannot read it.\n")
    assert SCRIPT["page"](facts[::-1]) == text


def test_what_is_missing_needs_a_reason() -> None:
    whole = ("loads", "trains", "saves", "agrees")
    facts = [
        fact("A", "text", *whole),
        fact("B", "text", "loads", "trains", "saves", note="ST cannot read it"),
        fact("C", "text", "loads", "trains"),
        fact("C", "text", "saves"),
        fact("C", "text", *whole, task="reranking"),
    ]
    assert SCRIPT["unexplained"](facts) == ["C, text (embedding): not agrees"]
    assert SCRIPT["unexplained"](facts[:2]) == []


def test_a_task_has_a_table_of_its_own() -> None:
    text = SCRIPT["page"]([fact("B", "text", "loads"), fact("A", "text", "loads", task="reranking")])
    assert (
        text.index("## Embedding models")
        < text.index("| B |")
        < text.index("## Rerankers")
        < text.index("| A |")
    )


def test_only_tests_that_pass_are_heard(tmp_path: Path) -> None:
    heard = FactsFile(tmp_path / "build" / "facts.jsonl")
    heard.pytest_runtest_logreport(report("passed", "call", [fact("A", "text", "loads")] * 2))
    heard.pytest_runtest_logreport(report("passed", "teardown", [fact("B", "text", "loads")]))
    heard.pytest_runtest_logreport(report("failed", "call", [fact("C", "text", "loads")]))
    heard.pytest_sessionfinish()
    lines = heard.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [fact("A", "text", "loads")]
    assert SCRIPT["read"](heard.path) == [fact("A", "text", "loads")]
