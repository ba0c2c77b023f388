"""A training step on page images: a small Qwen3-VL with random weights, 16 rows of (question, its page, another
page) with pages of 600x800 pixels, InfoNCE at scale 20 under Matryoshka with four dims, two threads.

    python benchmarks/train_pages.py                     # all rows, five rounds
    python benchmarks/train_pages.py --check             # both sides compute the same loss and the same gradients
    python benchmarks/train_pages.py --sweep             # which cached settings of ST are its best

The model (qwen.SMALL): language model 256 wide, 4 layers; vision tower 128 wide, 4 layers. A page is 1,900
patches and 475 tokens. What a step is, and what the clock covers, is in steps.py; the preparing of the images is
not in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

import data
import qwen
import steps
from contest import Contestant, Goal, contest, goals, sweep

ROWS = 16
DIMS = (256, 192, 128, 64)
GB = 10**9

# ST's fastest cached setting, as found by --sweep.
BEST: Mapping[str, Any] = {"mini_batch_size": 4}
SWEPT: Mapping[str, Mapping[str, Any] | None] = {
    "plain": None,
    **{f"{size} items": {"mini_batch_size": size} for size in (2, 4, 8)},
    **{f"{tokens} tokens": {"mini_batch_num_tokens": tokens} for tokens in (2_048,)},
}
ST_ONE, ST_BEST = "ST cached, 1 item", "ST cached, best"
OURS_8, OURS_EQUAL = "Sightline, 8 GB", "Sightline, ST's memory"


def rows(number: int) -> list[dict[str, Any]]:
    """Questions and pages, the pages in memory."""
    return [
        {"query": question, "page": data.opened(right), "negative": data.opened(wrong)}
        for question, right, wrong in data.page_triplets(number)
    ]


def folder() -> Any:
    return qwen.checkpoint(data.CACHE / "qwen-small", qwen.SMALL)


def theirs(cached: Mapping[str, Any] | None, number: int) -> steps.Step:
    return steps.theirs(folder(), rows(number), DIMS, cached=cached, images=True)


def ours(allowed: float, number: int, step_mode: str = "auto") -> steps.Step:
    return steps.ours(folder(), rows(number), DIMS, allowed_bytes=allowed, step_mode=step_mode)


def run(*, rounds: int, number: int, threads: int) -> None:
    """The contest: the published setting, ST's best, ours with room and within the published setting's memory."""

    def side(name: str, setup: Any, **arguments: Any) -> Contestant:
        return Contestant(name, setup, {"number": number} | arguments, threads=threads)

    one = side(ST_ONE, theirs, cached={"mini_batch_size": 1})
    (probed,) = sweep("", [one], write=False)
    outcomes = contest(
        "train_pages",
        [
            one,
            side(ST_BEST, theirs, cached=BEST),
            side(OURS_8, ours, allowed=8 * GB),
            side(OURS_EQUAL, ours, allowed=probed.peak),
        ],
        rounds=rounds,
        warmups=0,
        follow_on=True,
    )
    goals(
        outcomes,
        [
            Goal(OURS_8, ST_ONE, 1.7, allowed_bytes=8 * GB),
            Goal(OURS_EQUAL, ST_ONE, 1.2, memory=1.0),
            Goal(OURS_8, ST_BEST, 1.5, allowed_bytes=8 * GB),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--number", type=int, default=ROWS, help="rows of the batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    chosen = parser.parse_args()
    folder()  # written once, before the contestants look for it
    if chosen.check:
        sides = {mode: partial(ours, 8 * GB, chosen.number, step_mode=mode) for mode in ("direct", "cached")}
        steps.check(partial(theirs, {"mini_batch_size": 1}, chosen.number), sides)
    elif chosen.sweep:
        sides = [
            Contestant(
                f"ST {name}", theirs, {"cached": cached, "number": chosen.number}, threads=chosen.threads
            )
            for name, cached in SWEPT.items()
        ]
        sweep("train_pages_sweep", sides)
    else:
        run(rounds=chosen.rounds, number=chosen.number, threads=chosen.threads)


if __name__ == "__main__":
    main()
