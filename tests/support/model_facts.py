"""What the tests found out about architectures: the rows of docs/models.md.

A test says what it showed, once, as its last statement, through the fixture ``model_fact``::

    pytestmark = pytest.mark.models  # its file feeds docs/models.md


    def test_whisper(model_fact: ModelFact) -> None:
        ...
        model_fact("Whisper (encoder)", "audio", "loads", "trains", "saves", "agrees")

Several tests may speak of the same row (architecture, modality and task); their checks are put together. A test
that fails or is skipped says nothing. So tests that need the real data (marker ``shared``) should not speak:
the table would then depend on the machine. Where Sentence Transformers cannot do a row, a test shows *that* (it
raises, it gives other vectors), and says why in the row's note instead of ``agrees``::

    model_fact("SigLIP", "text", note="ST pads texts to the longest of a batch")

The facts travel in pytest's reports, so they work under xdist too. ``pytest --model-facts FILE`` writes them;
`scripts/models.py` makes docs/models.md out of them, or says where the two differ. `make models` runs both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import pytest

Check = Literal["loads", "trains", "saves", "agrees"]
Task = Literal["embedding", "late interaction", "reranking"]

KEY = "model_fact"


class ModelFact(Protocol):
    """Records one row of the table, or further checks of it.

    Args:
        architecture: as people call it, the same in every test that speaks of it.
        modality: ``text``, ``image``, ``audio``, ``video``, ``text+image``, ``message``, ...
        checks: ``loads`` (from a folder of the real layout), ``trains`` (a step: finite gradients, weights move),
            ``saves`` (reloaded, the same vectors or scores), ``agrees`` (with Sentence Transformers 6.2 on the same
            files, within 1e-5).
        task: what the model is used for.
        note: why a check is missing.
    """

    def __call__(
        self, architecture: str, modality: str, *checks: Check, task: Task = "embedding", note: str = ""
    ) -> None: ...


@pytest.fixture
def model_fact(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> ModelFact:
    """Says what the test showed about an architecture; see `support.model_facts`."""
    marked = request.node.get_closest_marker("models") is not None

    def say(
        architecture: str, modality: str, *checks: Check, task: Task = "embedding", note: str = ""
    ) -> None:
        assert marked, "a test that speaks of an architecture carries the marker `models`"
        assert set(checks) <= set(get_args(Check)), checks
        assert task in get_args(Task), task
        row = {"task": task, "architecture": architecture, "modality": modality}
        record_property(KEY, {**row, "checks": list(checks), "note": note})

    return say


class FactsFile:
    """Collects the facts of tests that pass and writes them at the end of the session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.facts += [dict(value) for name, value in report.user_properties if name == KEY]

    def pytest_sessionfinish(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # In a fixed order, however many processes ran the tests.
        lines = sorted({json.dumps(fact, sort_keys=True) for fact in self.facts})
        self.path.write_text("\n".join(lines) + "\n" if lines else "", encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--model-facts", metavar="FILE", help="write what the tests say about architectures to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--model-facts")
    # xdist's workers send their reports to the process that started them.
    if path and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(FactsFile(Path(path)), "model-facts")
