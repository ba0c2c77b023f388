"""Sentence Transformers on the zoo's vision-language models, as a program that has torchvision::

    python -m support.zoo.oracle FOLDER_WITH_TORCHVISION|installed WORK KEY...

WORK/KEY holds ``ours`` (saved by Sightline) and ``bare`` (the tiny checkpoint itself). It gets::

    ours.npz    what ST reads from ours: one array per input, images through PIL
    theirs/     the checkpoint saved by ST
    theirs.npz  ST's vectors of it
    late.npz    where there is a folder ``late`` instead, a late-interaction model saved by Sightline: the token
                vectors ST reads from it, one array per value
    rerank.npz  where there is a folder ``rerank`` instead, a reranker saved by Sightline: the ``scores`` of `pairs`
    error.txt   why ST could not do one of these, where it could not
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from support.st_oracle import import_torchvision
from support.zoo.inputs import PROMPT, inputs_for, pairs


def vectors(model: Any, kinds: tuple[str, ...]) -> dict[str, Any]:
    """NumPy arrays by input, from either library's model; texts also with a prompt."""
    import numpy as np

    found = {kind: np.asarray(model.encode(inputs_for(kind))) for kind in kinds}
    if "text" in kinds:
        found["prompted"] = np.asarray(model.encode(inputs_for("text"), prompt=PROMPT))
        found["query"] = np.asarray(model.encode_query(inputs_for("text")))
    return found


def token_vectors(model: Any, kinds: tuple[str, ...]) -> dict[str, Any]:
    """NumPy arrays by input and number, from ST's late-interaction model."""
    import numpy as np

    return {
        f"{kind}-{number}": np.asarray(one)
        for kind in kinds
        for number, one in enumerate(model.encode_document(inputs_for(kind)))
    }


def _load(folder: Path, kind: type[Any]) -> Any:
    from transformers import AutoImageProcessor

    model: Any = kind(str(folder), device="cpu")
    model[0].processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return model


def main() -> None:
    torchvision, work, *keys = sys.argv[1:]
    import_torchvision(torchvision)
    import numpy as np
    import torch
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

    # Not before: it imports transformers, which looks for torchvision once.
    from support.zoo.architectures import ARCHITECTURES

    torch.set_num_threads(1)
    for key in keys:
        folder, kinds = Path(work) / key, ARCHITECTURES[key].inputs
        try:
            if (folder / "late").is_dir():
                model = _load(folder / "late", MultiVectorEncoder)
                np.savez(folder / "late.npz", **token_vectors(model, kinds))
                continue
            if (folder / "rerank").is_dir():
                model = _load(folder / "rerank", CrossEncoder)
                scores = model.predict(pairs(), activation_fn=torch.nn.Identity())
                np.savez(folder / "rerank.npz", scores=np.asarray(scores))
                continue
            np.savez(folder / "ours.npz", **vectors(_load(folder / "ours", SentenceTransformer), kinds))
            model = _load(folder / "bare", SentenceTransformer)
            np.savez(folder / "theirs.npz", **vectors(model, kinds))
            model.save_pretrained(str(folder / "theirs"))
        except Exception:  # the tests say what went wrong, model by model
            (folder / "error.txt").write_text(traceback.format_exc())


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
