"""``feedback.json`` beside a dataset: what the last `sightline feedback export` into it could not use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.errors import DataError
from sightline.files import write_json

FEEDBACK_FACTS = "feedback.json"


def write_feedback_facts(root: Path, facts: Mapping[str, Any]) -> None:
    """Replace the file in one step."""
    write_json(root / FEEDBACK_FACTS, dict(facts))


def read_feedback_facts(root: Path) -> dict[str, Any] | None:
    """The facts; None where no feedback was exported into the dataset.

    Raises:
        DataError: the file cannot be read.
    """
    path = root / FEEDBACK_FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); run `sightline feedback export` again") from error
    if not isinstance(facts, dict):
        raise DataError(f"{path} does not hold what it should; run `sightline feedback export` again")
    return facts
