"""Sentence Transformers with torchvision, as a program of its own.

ST cannot load a Qwen-VL processor without torchvision, which Sightline does not depend on. So the oracle runs
in a process that finds torchvision in a folder of its own, and hands over its numbers in files::

    python st_oracle.py FOLDER_WITH_TORCHVISION|installed WORK

WORK holds ``ours`` (a Qwen3-VL saved by Sightline) and ``bare`` (one without ST files). It gets::

    ours-pil.npz, ours-torchvision.npz   what ST reads from ours, images through PIL or torchvision
    sightline-torchvision.npz            what Sightline reads from ours where torchvision is installed
    theirs/, theirs-pil.npz              the bare model saved by ST, and its vectors
    gradients.safetensors                loss value and gradients of ST's cached, nested loss
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# The same inputs on both sides.
TEXTS = ["hello", "the annual report shows a table of operating costs", "pump, valves and seals " * 30, "x"]
PROMPT = "Find the page: "
MATRYOSHKA = (64, 48, 16)
QUERIES = ["costs of the plant", "How many employees worked in 2019?", "a pump", "revenue by region, a table"]
SIZES = ((64, 64), (40, 90), (200, 100), (33, 31))


def pictures() -> list[Any]:
    """Noise images."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in SIZES]


def inputs() -> dict[str, tuple[list[Any], str | None]]:
    """Name -> values and the prompt they are encoded with."""
    images = pictures()
    both = [{"text": "hi there", "image": images[0]}, {"image": images[1], "text": "report"}]
    messages = [
        [
            {"role": "system", "content": [{"type": "text", "text": "You look at pages."}]},
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": images[0]},
                    {"type": "text", "text": "and"},
                    {"type": "image", "image": images[2]},
                ],
            },
        ],
        [{"role": "user", "content": [{"type": "text", "text": "no image"}]}],
    ]
    return {
        "text": (TEXTS, None),
        "image": (images, None),
        "both": (both, None),
        "messages": (messages, None),
        "prompted text": (TEXTS, PROMPT),
        "prompted image": (images, PROMPT),
    }


def encoded(model: Any) -> dict[str, Any]:
    """NumPy arrays by name, from either library's model."""
    import numpy as np

    return {
        name: np.asarray(model.encode(values, prompt=prompt)) for name, (values, prompt) in inputs().items()
    }


def import_torchvision(folder: str) -> None:
    """Makes torchvision importable from ``folder``, or leaves the installed one."""
    import torch

    if folder == "installed":
        return
    sys.path.insert(0, folder)
    # Its compiled operators may not fit this torch; transformers' image processors use none of them, but
    # torchvision looks these two up when it is imported.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor a, Tensor b, float c) -> Tensor")
    library.define("qnms(Tensor a, Tensor b, float c) -> Tensor")
    _LIBRARIES.append(library)


_LIBRARIES: list[Any] = []  # a library's operators live as long as it does


def _load(folder: Path, backend: str, **options: Any) -> Any:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoImageProcessor

    model = SentenceTransformer(str(folder), device="cpu", **options)
    model[0].processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
    return model


def _gradients(model: Any, path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from sentence_transformers.sentence_transformer import losses

    inner = losses.CachedMultipleNegativesRankingLoss(model, scale=20.0, mini_batch_size=1)
    loss = losses.MatryoshkaLoss(model, inner, matryoshka_dims=list(MATRYOSHKA))
    model.train()
    features = [model.preprocess(QUERIES), model.preprocess(pictures())]
    value = loss(features, torch.zeros(len(QUERIES)))
    value.backward()
    found = {
        name.removeprefix("0.model."): parameter.grad.contiguous()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    save_file(found | {"loss": value.detach().reshape(1)}, path)
    model.eval()


def main() -> None:
    folder, work = sys.argv[1], Path(sys.argv[2])
    import_torchvision(folder)
    import numpy as np
    import torch

    torch.set_num_threads(1)
    from sightline.models.encoder import Encoder

    for backend in ("pil", "torchvision"):
        model = _load(work / "ours", backend)
        np.savez(work / f"ours-{backend}.npz", **encoded(model))
        if backend == "pil":
            _gradients(model, work / "gradients.safetensors")
    encoder = Encoder.from_pretrained(work / "ours", device="cpu")
    images = type(encoder.backbones()[""].processor.processor.image_processor).__name__
    if not encoder.supports("video") or "Pil" in images:
        raise SystemExit(f"torchvision was not found: {images}")
    np.savez(work / "sightline-torchvision.npz", **encoded(encoder))
    model = _load(work / "bare", "pil")
    np.savez(work / "theirs-pil.npz", **encoded(model))
    model.save_pretrained(str(work / "theirs"))


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
