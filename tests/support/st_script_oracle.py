"""The published scripts under Sentence Transformers, as a program of its own (`st_oracle` says why)::

    python -m support.st_script_oracle FOLDER_WITH_TORCHVISION|installed rerankers WORK
    python -m support.st_script_oracle FOLDER_WITH_TORCHVISION|installed documents WORK --data DATA

WORK holds ``model``; for the rerankers ``data`` and, by kind, ``ours-answer/final`` and ``ours-pooled/final``, for the
documents ``ours/final``. It gets, by kind or as ``documents``, ``answer.json`` (what the script said), ``answer.npz``
(a reranker's scores after training) and ``ours-answer.npz`` (what ST makes of the model that Sightline saved).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def run_oracle(scripts: str, work: Path, *options: str) -> None:
    """Runs this program; fails with what it wrote to stderr."""
    from support.torchvision_folder import torchvision_folder

    done = subprocess.run(
        [sys.executable, "-m", "support.st_script_oracle", torchvision_folder(), scripts, str(work), *options],
        capture_output=True, text=True, timeout=240, check=False, cwd=TESTS,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]


def main() -> None:
    from support.st_oracle import import_torchvision

    folder, scripts, work = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    import_torchvision(folder)
    import torch

    torch.set_num_threads(1)
    if scripts == "documents":
        _documents(work, Path(sys.argv[5]))
    else:
        _rerankers(work)


def _documents(work: Path, data: Path) -> None:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from support import published_documents

    names = published_documents.run(
        published_documents.IMPORTS,
        published_documents.QWEN3_VL,
        model=work / "model",
        data=data,
        output=work / "theirs",
    )
    (work / "documents.json").write_text(json.dumps(published_documents.told(names)))
    ours = SentenceTransformer(str(work / "ours" / "final"), device="cpu")
    np.savez(work / "ours-documents.npz", vectors=ours.encode(["How many employees?", "a pump"]))


def _rerankers(work: Path) -> None:
    import numpy as np
    from sentence_transformers import CrossEncoder

    from support import published_rerankers

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
