"""Preparing page images for Qwen3-VL: Sightline's preprocessor against ST's `preprocess`, one thread.

    python benchmarks/images.py                          # 64 pages, five rounds
    python benchmarks/images.py --pages 16 --rounds 1

Pages of real documents, 600x800 pixels, opened and in memory on both sides; ST prepares batches of 8, Sightline
one page after the other. Both keep what they prepared. A page becomes 1,900 patches (qwen.PIXELS keeps it at its
size, 608x800).

Images are resized by torchvision where it is installed, which ST needs for this model, and by Pillow elsewhere; the
two round differently. Each side is measured both ways, and what it prepares is compared with the other's: the
tokens and the grids are the same, the pixels the same float32 numbers to 1e-6 after the normalisation that
Sightline leaves to the device.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import data
import numpy as np
import qwen
import steps
from contest import Contestant, Goal, Work, contest, goals

BATCH = 8
SAME = 1e-6
BACKENDS = ("torchvision", "pil")


def checkpoint() -> Path:
    return qwen.checkpoint(data.CACHE / "qwen-tiny", None)


def pages(number: int) -> list[Any]:
    return [data.opened(path) for path in data.page_images(number)]


def theirs(number: int, backend: str, kept: str) -> Work:
    """ST, the whole list in batches of 8; torchvision is its default."""
    steps.torchvision()
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoImageProcessor

    folder, images = checkpoint(), pages(number)
    model = SentenceTransformer(str(folder), device="cpu")
    model[0].processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)

    def work() -> Mapping[str, Any]:
        held = [model.preprocess(images[begin : begin + BATCH]) for begin in range(0, number, BATCH)]
        tensors = [[value for value in batch.values() if isinstance(value, torch.Tensor)] for batch in held]

        def keep() -> int:
            first = held[0]
            mask = first["attention_mask"].bool()
            np.savez(
                kept,
                pixels=first["pixel_values"].numpy(),
                grids=first["image_grid_thw"].numpy(),
                tokens=first["input_ids"][mask].numpy(),
            )
            return len(held)

        return {
            "bytes held per page": sum(one.nbytes for batch in tensors for one in batch) // number,
            "batches": keep,
        }

    return work


def ours(number: int, backend: str, kept: str) -> Work:
    """Sightline's preprocessor, page after page."""
    if backend == "torchvision":
        steps.torchvision()
    import torch

    from sightline.inputs.parse import parse
    from sightline.models.encoder import Encoder

    encoder = Encoder.from_pretrained(checkpoint(), device="cpu")
    images = pages(number)
    normalization = encoder.backbones()[""].processor.normalization

    def work() -> Mapping[str, Any]:
        items = [parse(image, modalities=encoder.modalities) for image in images]
        held = [encoder.preprocessor(item) for item in items]

        def keep() -> int:
            first = [one.values for one in held[:BATCH]]
            np.savez(
                kept,
                pixels=normalization(torch.cat([one["pixel_values"] for one in first])).numpy(),
                grids=torch.cat([one["image_grid_thw"] for one in first]).numpy(),
                tokens=torch.cat([one["input_ids"] for one in first]).numpy(),
            )
            return len(held)

        size = sum(value.nbytes for one in held for value in one.values.values())
        return {"bytes held per page": size // number, "pages": keep}

    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkpoint()
    data.page_images(options.pages)
    names = {backend: (f"ST, {backend}", f"Sightline, {backend}") for backend in BACKENDS}
    with tempfile.TemporaryDirectory() as folder:
        contestants = [
            Contestant(
                names[backend][side],
                (theirs, ours)[side],
                {"number": options.pages, "backend": backend, "kept": f"{folder}/{backend}-{side}.npz"},
                threads=1,
            )
            for side in (0, 1)
            for backend in BACKENDS
        ]
        outcomes = contest("images", contestants, rounds=options.rounds)
        goals(outcomes, [Goal(own, peer, faster=5.0) for peer, own in names.values()])
        for backend in BACKENDS:
            first, second = (np.load(f"{folder}/{backend}-{side}.npz") for side in (0, 1))
            difference = float(np.abs(first["pixels"] - second["pixels"]).max())
            same = all(np.array_equal(first[name], second[name]) for name in ("grids", "tokens"))
            print(f"{backend}: largest difference of a pixel {difference:.1e}; same tokens and grids: {same}")
            if difference > SAME or not same:
                raise SystemExit(f"{backend}: Sightline does not prepare what ST prepares")
    by_name = {one.name: one for one in outcomes}
    for backend, pair in names.items():
        sizes = [by_name[name].facts["bytes held per page"] for name in pair]
        shown = " against ".join(f"{size / 1e6:.2f} MB" for size in sizes)
        print(f"{backend}: {shown} held per page, {sizes[0] / sizes[1]:.2f}x")
    per_page = {one.name: one.median / options.pages * 1e3 for one in outcomes}
    print("ms a page: " + ", ".join(f"{name} {value:.2f}" for name, value in per_page.items()))


if __name__ == "__main__":
    main()
