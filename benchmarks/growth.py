"""How time and memory grow with the batch: one step of Sightline at batch 64, 256, 1,024 and 4,096.

    python benchmarks/growth.py                          # three rounds, within 2 GB and with room

The first two layers of all-MiniLM-L6-v2, pairs of real text of 4 to 10 words, InfoNCE under Matryoshka with
seven dims, two threads. Small batches are stepped several times per round, so that every clock runs for seconds,
and the second of two such calls is timed: the first gets back the memory that the process gave up while it slept.

``2 GB`` bounds the process: peaks should be level. ``room`` is 16 GB: peaks grow with the graphs that are kept,
and their growth per item should be level. Between the two a step pays for a second forward pass of what does not
fit, which is why time is compared within each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import data
import steps
from contest import Contestant, Outcome, contest

SIZES = (64, 256, 1_024, 4_096)
DIMS = (384, 320, 256, 192, 128, 64, 32)
ALLOWED = {"2 GB": 2e9, "room": 16e9}
FLAT = 0.15
ITEMS_PER_ROW = 2


def ours(size: int, allowed: float) -> Callable[[], Mapping[str, Any]]:
    """As many steps as make up 1,024 rows, one at least."""
    from sightline.demo.model import minilm_folder

    texts = data.texts(ITEMS_PER_ROW * size, lengths=(4, 10))
    rows = [
        {"anchor": first, "positive": second} for first, second in zip(texts[::2], texts[1::2], strict=True)
    ]
    step = steps.ours(minilm_folder(), rows, DIMS, config={"num_hidden_layers": 2}, allowed_bytes=allowed)
    repeats = repeats_of(size)

    def work() -> Mapping[str, Any]:
        for _ in range(repeats):
            facts = step()
        return {"loss": facts["loss"]}

    return work


def repeats_of(size: int) -> int:
    return max(1, 1_024 // size)


def report(outcomes: list[Outcome], sizes: list[int], allowed: str) -> None:
    """Per item: time, and the growth of the peak."""
    print(f"| batch, {allowed} | ms an item | peak GB | growth, kB an item |\n|---|---|---|---|")
    times, peaks, growths = [], [], []
    for size, outcome in zip(sizes, outcomes, strict=True):
        times.append(outcome.median / repeats_of(size) / (ITEMS_PER_ROW * size))
        peaks.append(float(outcome.peak))
        growths.append(outcome.growth / (ITEMS_PER_ROW * size))
        print(
            f"| {size:,} | {times[-1] * 1e3:.2f} | {outcome.peak / 1e9:.2f} | {growths[-1] / 1e3:.0f} |",
        )
    for name, values in (("time an item", times), ("peak", peaks), ("growth an item", growths)):
        spread = max(values) / min(values) - 1
        print(f"{name}: highest {spread:.0%} above lowest{'' if spread > FLAT else ', flat'}")
    rise = times[-1] / times[0] - 1
    print(f"time an item, largest batch against smallest: {rise:+.0%}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=list(ALLOWED), default=list(ALLOWED))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    for name in chosen.rows:
        sides = [
            Contestant(
                f"batch {size:,}", ours, {"size": size, "allowed": ALLOWED[name]}, threads=chosen.threads
            )
            for size in chosen.sizes
        ]
        outcomes = contest(
            f"growth_{name.replace(' ', '_')}", sides, rounds=chosen.rounds, warmups=0, follow_on=True
        )
        report(outcomes, chosen.sizes, name)


if __name__ == "__main__":
    main()
