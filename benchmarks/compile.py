"""Compiled layers and layers as they are: one training step of MiniLM, in turns, with one thread.

    .venv/bin/python benchmarks/compile.py                # two tables
    .venv/bin/python benchmarks/compile.py --only mixed

mixed: 16 pairs of texts of 5 to 400 words. equal: all texts are of one length, so that layers can also be compiled
for that one shape, as a bucket of shapes would be. The first calls compile and are not timed. Figures are processor
seconds, which other processes disturb less than the clock.
"""

from __future__ import annotations

import argparse
import random
import statistics
from typing import Any

from contest import Contestant, Work, contest

WORDS = ("report", "pump", "valve", "table", "north", "cost", "region", "staff", "plant", "gauge")


def setup(compiled: str | None, words: tuple[int, int], rows: int = 16) -> Work:
    """A step over `rows` pairs of texts of so many words; layers compiled for ``"any"`` shape or for ``"one"``."""
    import torch

    from sightline.demo.model import minilm_folder
    from sightline.losses.contrastive import InfoNCE
    from sightline.models.encoder import Encoder
    from sightline.training.batches import BatchBuilder
    from sightline.training.compiling import compile_layers, repeated_layers
    from sightline.training.limits import Limits
    from sightline.training.rows import choose_columns
    from sightline.training.step import Step

    torch.manual_seed(0)
    encoder = Encoder.from_pretrained(minilm_folder()).train()
    if compiled == "any":
        compile_layers(encoder, device=encoder.device)
    elif compiled == "one":
        for layer in repeated_layers(encoder):
            layer.compile(dynamic=False)
    builder = BatchBuilder(
        encoder.preprocessor,
        encoder.collate,
        choose_columns(("anchor", "positive")),
        encoder.modalities,
        Limits(2048),
    )
    draw = random.Random(0)

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(*words)))

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


AS_IS, ANY, ONE = "as it is", "compiled, one graph for all shapes", "compiled for the one shape"
TASKS = {
    "mixed": ((5, 400), {AS_IS: None, ANY: "any"}),
    "equal": ((200, 200), {AS_IS: None, ANY: "any", ONE: "one"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=sorted(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
    for task in [options.only] if options.only else TASKS:
        words, sides = TASKS[task]
        contestants = [
            Contestant(name, setup, {"compiled": compiled, "words": words, "rows": options.rows}, threads=1)
            for name, compiled in sides.items()
        ]
        for outcome in contest(f"compile_{task}", contestants, rounds=options.rounds, warmups=2):
            print(f"{task}, {outcome.name}: {statistics.median(outcome.cpu_seconds):.2f} processor seconds")


if __name__ == "__main__":
    main()
