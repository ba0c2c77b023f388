"""Sentence Transformers' CrossEncoder on Qwen-VL, as a program of its own (see `st_oracle` for the reason)::

    python st_reranker_oracle.py FOLDER_WITH_TORCHVISION|installed WORK

WORK holds ``bare`` (a Qwen3-VL without ST files) and ``answer``, ``pooled``, ``preset`` (rerankers saved by
Sightline). It gets ``answer.npz``, ``pooled.npz``, ``preset.npz`` (the scores ST finds) and, saved by ST out of
``bare``, ``theirs-answer/`` and ``theirs-pooled/`` with ``theirs-answer.npz`` and ``theirs-pooled.npz``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

PROMPT = "Which page answers the question?"


def pairs() -> dict[str, list[Any]]:
    """Pairs by name, the same on both sides."""
    import st_oracle

    first, second, third, fourth = st_oracle.pictures()
    texts = st_oracle.TEXTS
    return {
        "texts": list(zip(st_oracle.QUERIES, [*texts[:2], "pump, valves and seals", texts[3]], strict=True)),
        "text and image": [(query, image) for query in st_oracle.QUERIES[:2] for image in (first, second)],
        "image and text": [(third, "a page of costs"), (fourth, "hello")],
        "images": [(first, third), (second, fourth)],
        "mixed": [
            ({"text": "like this one", "image": first}, second),
            ("a pump", {"image": third, "text": "page 3"}),
            ("a pump", "page 3"),
        ],
    }


def scored(model: Any) -> dict[str, Any]:
    """NumPy arrays by name, from either library's reranker, without and with a prompt."""
    import numpy as np

    found = {name: np.asarray(model.predict(values)) for name, values in pairs().items()}
    return found | {
        f"prompted {name}": np.asarray(model.predict(values, prompt=PROMPT))
        for name, values in pairs().items()
    }


def main() -> None:
    folder, work = sys.argv[1], Path(sys.argv[2])
    import st_oracle

    st_oracle.import_torchvision(folder)
    import numpy as np
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoImageProcessor

    torch.set_num_threads(1)

    def by_pil(model: Any, place: Path) -> Any:
        model[0].processor.image_processor = AutoImageProcessor.from_pretrained(place, backend="pil")
        return model

    for name in ("answer", "pooled", "preset"):
        model = by_pil(CrossEncoder(str(work / name), device="cpu"), work / name)
        np.savez(work / f"{name}.npz", **scored(model))
    asked = {"chat_template": {"add_generation_prompt": True}}

    def transformer(task: Any) -> Any:
        return Transformer(str(work / "bare"), transformer_task=task, processing_kwargs=asked)

    body = transformer("any-to-any")
    yes, no = (body.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    answer = CrossEncoder(modules=[body, LogitScore(yes, no)], device="cpu")
    body = transformer("feature-extraction")
    rows = body.model.get_input_embeddings().weight.data
    dense = Dense(
        body.get_embedding_dimension(), 1, bias=False, activation_function=None,
        init_weight=(rows[yes] - rows[no]).unsqueeze(0), module_output_name="scores",
    )  # fmt: skip
    pooled = CrossEncoder(
        modules=[body, Pooling(body.get_embedding_dimension(), pooling_mode="lasttoken"), dense], device="cpu"
    )
    for name, model in (("theirs-answer", answer), ("theirs-pooled", pooled)):
        np.savez(work / f"{name}.npz", **scored(by_pil(model, work / "bare")))
        model.save_pretrained(str(work / name))


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
