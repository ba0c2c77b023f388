"""Folders of runs as `sightline train` leaves them, with results of vectors made up on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sightline.evaluation.background import Background, Remark
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.rows import Row
from sightline.evaluation.saved import write_results
from sightline.types import Embeddings

PAGES = [f"document-{d}.pdf#p{p}" for d in range(11) for p in range(3)]
RECIPE = (
    '[model]\nname = "base/model"\n\n[data]\ndataset = "data/{data}"\n\n[training]\nlearning_rate = {rate}\n'
)


def made_run(
    folder: Path,
    *,
    noise: float = 2.0,
    data: str = "pages",
    rate: float = 1e-4,
    created: str = "2026-01-01T10:00:00+00:00",
    evaluated: bool = True,
) -> Path:
    """A finished run in ``folder``: less ``noise`` makes a better model; ``data`` names what it was measured on."""
    recipe = RECIPE.format(data=data, rate=rate)
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(len(PAGES), 32, generator=generator)
    queries = {f"q{i}": f"What does page {i} say about costs in {data}?" for i in range(len(PAGES))}
    relevant = {f"q{i}": {page} for i, page in enumerate(PAGES)}

    def row(name: str, far: float) -> Row:
        found = Embeddings(vectors + far * torch.randn(vectors.shape, generator=generator))
        scored = score_embeddings(queries, found, PAGES, Embeddings(vectors), relevant, dims=(32, 16, 8))
        return Row(name, "both", scored)

    steps = [
        {"loss": 20 * rate / 1e-4 / step, "learning_rate": rate, "step": step} for step in range(10, 80, 10)
    ]
    checks = [
        {"eval_ndcg@10": 0.5 + step / 200, "eval_dim16_ndcg@10": 0.4 + step / 200, "step": step}
        for step in (20, 40, 60)
    ]
    folder.mkdir(parents=True)
    (folder / "resolved.toml").write_text(recipe, encoding="utf-8")
    (folder / "report.html").write_text(
        "<!doctype html><title>Report</title><h1>Report</h1>", encoding="utf-8"
    )
    write_results(
        [row("untuned", 4.0), row("fine-tuned", noise)],
        folder / "results.json",
        background=Background(
            log=[*steps, *(checks if evaluated else [])],
            metric="eval_ndcg@10" if evaluated else "",
            recipe=recipe,
            remarks=[Remark("warning", "question is cut", 3, "questions.jsonl:4", "too long", "shorten it")],
        ),
        facts={
            "fingerprint": data.encode().hex().ljust(32, "0"),
            "dataset": f"/somewhere/private/data/{data}",
            "model": "base/model",
            "questions": len(queries),
            "pages": len(PAGES),
            "created": created,
            "seconds": {"train": 75.0},
        },
    )
    return folder


def unfinished_run(folder: Path, *, step: int = 40) -> Path:
    """A run that was stopped: its recipe, and a checkpoint with the log so far."""
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (folder / "resolved.toml").write_text(RECIPE.format(data="pages", rate=1e-4), encoding="utf-8")
    log = [{"loss": 3.0 - at / 100, "learning_rate": 1e-4, "step": at} for at in range(10, step + 1, 10)]
    state = {"log_history": log, "max_steps": 120, "global_step": step}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    return folder
