"""Encoding for search, `Encoder.encode` against `SentenceTransformer.encode` with its defaults, two threads.

    python benchmarks/encode.py                          # all rows, five rounds
    python benchmarks/encode.py --only texts --texts 500 --rounds 1

texts: 5,000 passages of 5 to 400 words out of real documents, all-MiniLM-L6-v2 (texts are cut at 256 tokens). In
float32 both sides give the same vectors (1e-6); in bfloat16 the worst vector has a cosine of at least 0.9999 with
ST's float32 one.

pages: 500 page images of 600x800 pixels, opened, a small Qwen3-VL with random weights (qwen.SMALL); a page is
1,900 patches and 475 tokens. The clock covers preparing the images on both sides.
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

SAME = 1e-6  # of a component of a vector
NEAR = 0.9999  # cosine
ST, OURS, BF16 = "ST encode", "Sightline", "Sightline bf16"


def minilm() -> Path:
    from sightline.demo.model import minilm_folder

    return minilm_folder()


def small_qwen() -> Path:
    return qwen.checkpoint(data.CACHE / "qwen-small", qwen.SMALL)


def theirs(task: str, number: int, kept: str) -> Work:
    """ST with the settings it comes with."""
    if task == "pages":
        steps.torchvision()
    import transformers
    from sentence_transformers import SentenceTransformer

    folder = small_qwen() if task == "pages" else minilm()
    model = SentenceTransformer(str(folder), device="cpu")
    if task == "pages":
        # torchvision's compiled operators do not fit this torch; the Pillow variant of the processor needs none.
        images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        model[0].processor.image_processor = images
    values = inputs(task, number)
    return lambda: facts(model.encode(values), kept)


def ours(task: str, number: int, kept: str, **options: Any) -> Work:
    """Sightline with the settings it comes with, and ``options`` of `Encoder.encode`."""
    from sightline.models.encoder import Encoder

    encoder = Encoder.from_pretrained(small_qwen() if task == "pages" else minilm(), device="cpu")
    values = inputs(task, number)
    return lambda: facts(encoder.encode(values, **options).numpy(), kept)


def inputs(task: str, number: int) -> list[Any]:
    if task == "texts":
        return data.texts(number)
    return [data.opened(path) for path in data.page_images(number)]


def facts(vectors_ND: np.ndarray, kept: str) -> Mapping[str, Any]:
    def keep() -> int:
        np.save(kept, vectors_ND)
        return len(vectors_ND)

    return {"vectors": keep}  # called when the clock has stopped


def run(task: str, number: int, rounds: int, warmups: int, asked: Mapping[str, float]) -> None:
    """The contest of one task, what was asked, and whether the vectors are the same."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: f"{folder}/{name}.npy" for name in (ST, OURS, BF16)}
        same: dict[str, Any] = {"task": task, "number": number}
        contestants = [
            Contestant(ST, theirs, same | {"kept": files[ST]}),
            Contestant(OURS, ours, same | {"kept": files[OURS]}),
            Contestant(BF16, ours, same | {"kept": files[BF16], "bf16": True}),
        ]
        outcomes = contest(f"encode_{task}", contestants, rounds=rounds, warmups=warmups)
        goals(outcomes, [Goal(name, ST, faster) for name, faster in asked.items()])
        vectors = {name: np.load(path) for name, path in files.items()}
    for name in (OURS, BF16):
        difference = float(np.abs(vectors[name] - vectors[ST]).max())
        cosine = float(cosines(vectors[name], vectors[ST]).min())
        print(f"{name}: largest difference of a component {difference:.1e}, lowest cosine {cosine:.6f}")
        # Page images pass through far more operators than a text, so only their direction is asked for.
        if cosine < NEAR or (task == "texts" and name == OURS and difference > SAME):
            raise SystemExit(f"{name} does not give ST's vectors")


def cosines(first_ND: np.ndarray, second_ND: np.ndarray) -> np.ndarray:
    lengths_N = np.linalg.norm(first_ND, axis=1) * np.linalg.norm(second_ND, axis=1)
    return (first_ND * second_ND).sum(axis=1) / lengths_N


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("texts", "pages"))
    parser.add_argument("--texts", type=int, default=5_000)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    options = parser.parse_args()
    if options.only != "pages":
        run("texts", options.texts, options.rounds, options.warmups, {OURS: 1.5, BF16: 2.7})
    if options.only != "texts":
        small_qwen()
        run("pages", options.pages, options.rounds, options.warmups, {OURS: 1.5})


if __name__ == "__main__":
    main()
