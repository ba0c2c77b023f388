"""`sightline train` under torchrun: two processes end with the weights of one whose batch is twice as large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from support import page_datasets, tiny_models

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins", "volcanoes", "whales", "maps")


def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    model = tiny_models.bert(tmp_path / "bert", dropout=0.0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"""
[model]
name = "{model}"
[data]
dataset = "{page_datasets.one_page_each(tmp_path, WORDS, held_out=2)}"
fields = "text"
[loss.matryoshka]
dims = [32, 8]
[training]
num_train_epochs = 2
optim = "sgd"
learning_rate = 0.05
eval_strategy = "epoch"
save_strategy = "epoch"
dataloader_num_workers = 0
[evaluation]
split = "test"
""")

    def run(output: Path, batch: int, *command: str) -> subprocess.Popen[str]:
        overrides = [f"output.dir={output}", f"training.per_device_train_batch_size={batch}"]
        return subprocess.Popen(
            [sys.executable, "-m", *command, "train", str(recipe), *overrides],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    torchrun = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "sightline.cli.main")
    runs: dict[str, Callable[[Path], subprocess.Popen[str]]] = {
        "alone": lambda output: run(output, 4, "sightline.cli.main"),
        "several": lambda output: run(output, 2, *torchrun),
    }
    results, weights = {}, {}
    for name, start in runs.items():
        process = start(tmp_path / name)
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert out.count("fine-tuned") == 1, "one process alone prints the table"
        results[name] = json.loads((tmp_path / name / "results.json").read_text())["rows"]
        weights[name] = load_file(tmp_path / name / "final" / "model.safetensors")
    torch.testing.assert_close(weights["several"], weights["alone"], rtol=1e-5, atol=1e-6)
    untrained = load_file(model / "model.safetensors")
    assert any(not torch.equal(value, untrained[name]) for name, value in weights["alone"].items())
    for rows in results.values():
        rows[0].pop("cost", None)  # how long BM25 took
    assert str(results["several"][0]) == str(results["alone"][0]), "BM25"
