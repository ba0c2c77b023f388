"""ST's MultiVectorEncoder over Qwen3-VL, as a program of its own (see `st_oracle`)::

    python st_late_oracle.py FOLDER_WITH_TORCHVISION|installed WORK

WORK holds ``ours``, a late-interaction Qwen3-VL saved by Sightline. It gets ``ours.npz`` (what ST reads from it, images
through PIL), ``theirs/`` (the same saved by ST), and ``gradients.safetensors`` (its contrastive loss).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Started as a program, so its neighbours are found beside it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.st_oracle import QUERIES, TEXTS, import_torchvision, pictures

PROMPTS = {"query": "Find the page: ", "document": ""}


def inputs() -> dict[str, tuple[str, list[Any]]]:
    """Name -> role and values."""
    images = pictures()
    both = [{"text": "hi there", "image": images[0]}, {"image": images[1], "text": "report"}]
    return {
        "asked": ("query", QUERIES),
        "texts": ("document", TEXTS),
        "images": ("document", images),
        "both": ("document", both),
    }


def encoded(model: Any) -> dict[str, Any]:
    """Name and number -> the token vectors of an input, from ST's model."""
    found = {}
    for name, (role, values) in inputs().items():
        encode = model.encode_query if role == "query" else model.encode_document
        found |= {f"{name}-{number}": one for number, one in enumerate(encode(values, convert_to_numpy=True))}
    return found


def _gradients(model: Any, path: Path) -> None:
    from safetensors.torch import save_file
    from sentence_transformers.multi_vector_encoder import losses

    model.eval()
    features = [
        model.preprocess(QUERIES, prompt=PROMPTS["query"], task="query"),
        model.preprocess(pictures(), prompt=PROMPTS["document"], task="document"),
    ]
    value = losses.MultiVectorMultipleNegativesRankingLoss(model)(features)
    value.backward()
    found = {
        name: parameter.grad.contiguous()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    save_file(found | {"loss": value.detach().reshape(1)}, path)


def main() -> None:
    folder, work = sys.argv[1], Path(sys.argv[2])
    import_torchvision(folder)
    import numpy as np
    import torch
    from sentence_transformers import MultiVectorEncoder
    from transformers import AutoImageProcessor

    torch.set_num_threads(1)
    model = MultiVectorEncoder(str(work / "ours"), device="cpu")
    model[0].processor.image_processor = AutoImageProcessor.from_pretrained(work / "ours", backend="pil")
    np.savez(work / "ours.npz", **encoded(model))
    model.save_pretrained(str(work / "theirs"))
    _gradients(model, work / "gradients.safetensors")


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
