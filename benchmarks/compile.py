"""torch_compile on and off: one training step of MiniLM over texts of 5 to 400 words, in turns.

    .venv/bin/python benchmarks/compile.py

The first call compiles and is not timed. The figures are in docs/benchmarks.md.
"""

from __future__ import annotations

import random
from typing import Any

from contest import Contestant, Work, contest

WORDS = ("report", "pump", "valve", "table", "north", "cost", "region", "staff", "plant", "gauge")


def setup(compiled: bool, rows: int = 16) -> Work:
    """A step over `rows` pairs, graphs kept."""
    import torch

    from sightline.demo.model import minilm_folder
    from sightline.losses.contrastive import InfoNCE
    from sightline.models.encoder import Encoder
    from sightline.training.batches import BatchBuilder
    from sightline.training.compiling import compile_layers
    from sightline.training.limits import Limits
    from sightline.training.rows import choose_columns
    from sightline.training.step import Step

    torch.manual_seed(0)
    encoder = Encoder.from_pretrained(minilm_folder()).train()
    if compiled:
        compile_layers(encoder, device=encoder.device)
    builder = BatchBuilder(
        encoder.preprocessor,
        encoder.collate,
        choose_columns(("anchor", "positive")),
        encoder.modalities,
        Limits(2048),
    )
    draw = random.Random(0)

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(5, 400)))

    batches = [
        builder([(number, {"anchor": text(), "positive": text()}) for number in range(rows)])["batch"]
        for _ in range(4)
    ]
    turn = 0

    def work() -> dict[str, Any]:
        nonlocal turn
        batch = batches[turn % len(batches)]
        turn += 1
        assert batch is not None
        parts = Step().run(encoder, batch, InfoNCE())
        encoder.zero_grad()
        return {"loss": float(torch.stack(list(parts.values())).sum())}

    return work


if __name__ == "__main__":
    contest(
        "compile",
        [
            Contestant("as it is", setup, {"compiled": False}),
            Contestant("torch_compile", setup, {"compiled": True}),
        ],
        warmups=2,
    )
