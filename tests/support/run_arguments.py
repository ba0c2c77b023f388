"""Arguments of short, quiet training runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.training.arguments import TrainingArguments

QUIET: dict[str, Any] = {
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "dataloader_num_workers": 0,
    "report_to": "none",
}


def run_arguments(folder: Path, **options: Any) -> TrainingArguments:
    """Arguments of a run into a folder, every step logged, nothing saved; ``options`` win."""
    return TrainingArguments(output_dir=str(folder), **(QUIET | options))


def maker(root: Path, **usual: Any) -> Callable[..., TrainingArguments]:
    """``make("run", **options)``: arguments of runs into folders of ``root`` with the ``usual`` options of a file."""

    def make(name: str = "run", **options: Any) -> TrainingArguments:
        return run_arguments(root / name, **(usual | options))

    return make
