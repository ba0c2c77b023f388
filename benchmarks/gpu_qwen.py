"""A training step and an encode on one GPU: Qwen3-VL at the 2B model's real shape (random weights, bf16). The step has
64 rows of (question, page, another page) with pages of 600x600 pixels, InfoNCE at scale 20 under Matryoshka with seven
dims; the encode has 512 such pages.

    python benchmarks/gpu_qwen.py                        # every setting, three rounds; prints JSON at the end
    python benchmarks/gpu_qwen.py --settings st-1 ours --rounds 1
    python benchmarks/gpu_qwen.py --settings encode-st encode-ours --attention flash_attention_2
    python benchmarks/gpu_qwen.py --toy                  # a few thousand weights on the CPU: does the script run?

Settings: ``st-N`` is Sentence Transformers' cached loss with mini_batch_size=N (1 is its published setting),
``ours`` Sightline with all of the card's memory, ``ours-tight`` Sightline within the peak that ``st-1`` had;
``encode-st`` and ``encode-ours`` encode with the settings that each side comes with, preparing the images included.
Each runs alone, in a process that ends before the next one starts. Needs torchvision for ST, and nothing but
this repository: the pages are drawn.

The share of the card's matrix rate is (floating-point operations of one forward and one backward pass over every
item, re-embedding not counted) / (seconds * the rate of a large bf16 product measured on the same card).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import data
import qwen
import steps
from contest import RESULTS, Contestant, Outcome, sweep

DIMS = (2_048, 1_536, 1_024, 512, 256, 128, 64)
TOY_DIMS = (64, 48, 32, 16)
ENCODES = ("encode-st", "encode-ours")
SETTINGS = ("st-1", "st-4", "st-8", "st-16", "st-32", "ours", "ours-tight", *ENCODES)
COMPARED = 16  # pages whose vectors the two sides are compared by
WORDS = (
    "annual",
    "report",
    "revenue",
    "costs",
    "table",
    "figure",
    "plant",
    "pump",
    "valve",
    "pressure",
    "hours",
)


def drawn_page(number: int, size: int) -> Any:
    """A page of random words; the time of a step does not depend on what they say."""
    from PIL import Image, ImageDraw

    draw = random.Random(number)
    page = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(page)
    for top in range(20, size - 20, 16):
        pen.text((20, top), " ".join(draw.choices(WORDS, k=12)), fill="black")
    return page


def rows(number: int, size: int) -> list[dict[str, Any]]:
    draw = random.Random(-1)
    return [
        {
            "query": f"{row}: {' '.join(draw.choices(WORDS, k=draw.randint(5, 20)))}?",
            "page": drawn_page(2 * row, size),
            "negative": drawn_page(2 * row + 1, size),
        }
        for row in range(number)
    ]


def folder(toy: bool) -> Path:
    """The checkpoint, written on first use."""
    pixels = {"min_pixels": 28 * 28, "max_pixels": 128 * 128 if toy else 608 * 608}
    name = "qwen-toy" if toy else "qwen-2b"
    return qwen.checkpoint(
        data.CACHE / name,
        None if toy else qwen.REAL_2B,
        pixels=pixels,
        dtype="float32" if toy else "bfloat16",
    )


def encode(setting: str, toy: bool, number: int, attention: str) -> Callable[[], Any]:
    """One side's encode of pages."""
    import torch

    device, dtype = ("cpu", "float32") if toy else ("cuda", "bfloat16")
    kwargs = {"attn_implementation": attention}
    pages = [drawn_page(page, 128 if toy else 600) for page in range(number)]
    model: Any
    if setting == "encode-st":
        model = steps.their_model(folder(toy), device=device, dtype=dtype, images=True, model_kwargs=kwargs)
    else:
        from sightline.models.encoder import Encoder

        model = Encoder.from_pretrained(folder(toy), device=device, dtype=dtype, model_kwargs=kwargs)

    def work() -> Mapping[str, Any]:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        vectors = model.encode(pages)  # on the CPU when it returns, on both sides
        some = vectors[:COMPARED] if setting == "encode-st" else vectors.numpy()[:COMPARED]
        return {"vectors": some.tolist, "device peak bytes": _device_peak}

    return work


def setup(setting: str, toy: bool, number: int, attention: str, allowed: int | None) -> Callable[[], Any]:
    """One setting's step, with the device's books."""
    import torch

    device, dtype = ("cpu", "float32") if toy else ("cuda", "bfloat16")
    batch, dims = rows(number, 128 if toy else 600), TOY_DIMS if toy else DIMS
    if setting.startswith("st-"):
        cached = {"mini_batch_size": int(setting.removeprefix("st-"))}
        step = steps.theirs(
            folder(toy), batch, dims,
            cached=cached, device=device, dtype=dtype, images=True,
            model_kwargs={"attn_implementation": attention},
        )  # fmt: skip
    else:
        step = steps.ours(
            folder(toy), batch, dims,
            device=device, dtype=dtype, allowed_bytes=allowed,
            model_kwargs={"attn_implementation": attention},
        )  # fmt: skip

    def work() -> Mapping[str, Any]:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        facts = step()
        if device == "cuda":
            torch.cuda.synchronize()
        return facts | {"device peak bytes": _device_peak}

    return work


def _device_peak() -> int:
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


def card(toy: bool) -> Callable[[], Mapping[str, Any]]:
    """The rate of a large bf16 product, and the device's name."""
    import torch

    side, device = (512, "cpu") if toy else (8_192, "cuda")
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    tries = 3 if toy else 50

    def work() -> Mapping[str, Any]:
        import time

        left @ right
        _wait(device)
        started = time.perf_counter()
        for _ in range(tries):
            left @ right
        _wait(device)
        rate = tries * 2 * side**3 / (time.perf_counter() - started)
        name = "CPU" if toy else torch.cuda.get_device_name()
        return {"device": name, "TFLOP/s": rate / 1e12, "torch": torch.__version__}

    return work


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def operations(toy: bool, number: int) -> Callable[[], Mapping[str, Any]]:
    """Floating-point operations of one forward and one backward pass over every item of the batch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device, dtype = ("cpu", "float32") if toy else ("cuda", "bfloat16")
    some = rows(4, 128 if toy else 600)
    step = steps.ours(
        folder(toy), some, TOY_DIMS if toy else DIMS,
        device=device, dtype=dtype, model_kwargs={"attn_implementation": "sdpa"},
    )  # fmt: skip

    def work() -> Mapping[str, Any]:
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            for micro_batch in step.batch["batch"].micro_batches:
                step.model(micro_batch)
        # The backward pass of a product is two products of its size.
        return {"TFLOP": 3 * counter.get_total_flops() * number / len(some) / 1e12}

    return work


def _lowest_cosine(outcomes: Mapping[str, Outcome]) -> float | None:
    """Of the two sides' vectors of the same page; None where one side is missing."""
    import numpy as np
    from encode import cosines

    if not set(ENCODES) <= set(outcomes):
        return None
    return float(cosines(*(np.array(outcomes[name].facts["vectors"]) for name in ENCODES)).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=64, help="rows of the batch")
    parser.add_argument("--pages", type=int, default=512, help="pages that are encoded")
    parser.add_argument("--attention", default="sdpa", help="attn_implementation of both sides")
    parser.add_argument("--toy", action="store_true")
    chosen = parser.parse_args()
    toy, number, pages = chosen.toy, 4 if chosen.toy else chosen.number, 24 if chosen.toy else chosen.pages
    settings = ["st-1", "st-2", "ours", "ours-tight", *ENCODES] if toy else chosen.settings
    (measured,) = sweep("", [Contestant("card", card, {"toy": toy})], write=False)
    (counted,) = sweep(
        "", [Contestant("operations", operations, {"toy": toy, "number": number})], write=False
    )
    outcomes: dict[str, Outcome] = {}
    failures: dict[str, str] = {}
    for setting in settings:
        allowed = None
        if setting == "ours-tight":
            if "st-1" not in outcomes:
                continue
            published = outcomes["st-1"]
            allowed = published.peak if toy else published.facts["device peak bytes"]
        arguments = {"setting": setting, "toy": toy, "attention": chosen.attention}
        if setting in ENCODES:
            contestant = Contestant(setting, encode, arguments | {"number": pages}, threads=4)
        else:
            arguments |= {"number": number, "allowed": allowed}
            contestant = Contestant(setting, setup, arguments, threads=4)
        try:
            (outcomes[setting],) = sweep(
                "", [contestant],
                rounds=1 if toy else chosen.rounds, warmups=1, write=False,
            )  # fmt: skip
        except RuntimeError as error:  # out of memory, say: the others are measured all the same
            failures[setting] = str(error).strip().splitlines()[-1]
    rate, tera = measured.facts["TFLOP/s"], counted.facts["TFLOP"]
    found = {
        "device": measured.facts["device"],
        "torch": measured.facts["torch"],
        "matrix rate, TFLOP/s": rate,
        "TFLOP a step": tera,
        "rows": number,
        "attention": chosen.attention,
        "settings": {
            name: {
                "seconds": outcome.median,
                "all seconds": outcome.seconds,
                "device peak GB": outcome.facts["device peak bytes"] / 1e9,
                "share of the matrix rate": tera / outcome.median / rate,
                "loss": outcome.facts["loss"],
                "gradient norm": outcome.facts["gradient norm"],
            }
            for name, outcome in outcomes.items()
            if name not in ENCODES
        },
        "pages": pages,
        "encodes": {
            name: {
                "pages per second": pages / outcomes[name].median,
                "all seconds": outcomes[name].seconds,
                "device peak GB": outcomes[name].facts["device peak bytes"] / 1e9,
            }
            for name in ENCODES
            if name in outcomes
        },
        "lowest cosine of the encodes": _lowest_cosine(outcomes),
        "failures": failures,
    }
    text = json.dumps(found, indent=1)
    if not toy:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "gpu_qwen.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
