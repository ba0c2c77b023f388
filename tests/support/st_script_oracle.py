"""The published reranker scripts under Sentence Transformers, as a program of its own (`st_oracle` says why)::

    python -m support.st_script_oracle FOLDER_WITH_TORCHVISION|installed WORK

WORK holds ``model``, ``data`` and, by kind, ``ours-answer/final`` and ``ours-pooled/final``. It gets, by kind,
``answer.json`` (what the script said), ``answer.npz`` (scores after training) and ``ours-answer.npz`` (the scores that
ST gives the model that Sightline saved).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    from support.st_oracle import import_torchvision

    folder, work = sys.argv[1], Path(sys.argv[2])
    import_torchvision(folder)
    import numpy as np
    import torch
    from sentence_transformers import CrossEncoder

    from support import published_rerankers

    torch.set_num_threads(1)
    for kind in published_rerankers.SCRIPTS:
        names = published_rerankers.run(
            published_rerankers.IMPORTS,
            kind,
            model=work / "model",
            data=work / "data",
            output=work / f"theirs-{kind}",
        )
        (work / f"{kind}.json").write_text(json.dumps(published_rerankers.told(names)))
        np.savez(work / f"{kind}.npz", **published_rerankers.scores(names["model"], names))
        ours = CrossEncoder(str(work / f"ours-{kind}" / "final"), device="cpu")
        np.savez(work / f"ours-{kind}.npz", **published_rerankers.scores(ours, names))


if __name__ == "__main__":
    main()
