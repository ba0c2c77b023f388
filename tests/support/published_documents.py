"""The published script that trains a model for visual document retrieval, with a tiny model and tiny data.

Written again from its description in Sentence Transformers 6 (training_visual_document_retrieval.py): model, data,
loss, arguments, evaluator with four hard negatives per query, training, measuring by dimension, saving. Other than
there are the model and its numbers' type (float32, on the CPU), the sizes, the learning rate and the batch size.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

IMPORTS = """
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    BatchSamplers,
    SentenceTransformerTrainingArguments,
)
"""
SCRIPT = """
import datasets

model = SentenceTransformer(
    MODEL,
    device="cpu",
    model_card_data=SentenceTransformerModelCardData(language="en", model_name="tiny"),
    model_kwargs={"attn_implementation": "sdpa", "torch_dtype": "float32"},
    processor_kwargs=PIXELS,
)
train = datasets.load_dataset(DATA, "train", split="train").select_columns(["query", "image", "negative_0"])
held_out = datasets.load_dataset(DATA, "eval", split="train")
loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)
loss = MatryoshkaLoss(model, loss, matryoshka_dims=DIMS)
args = SentenceTransformerTrainingArguments(
    output_dir=OUTPUT,
    num_train_epochs=2,
    per_device_train_batch_size=6,
    per_device_eval_batch_size=64,
    learning_rate=RATE,
    warmup_ratio=0.1,
    fp16=False,
    bf16=False,
    batch_sampler=BatchSamplers.NO_DUPLICATES,
    eval_strategy="steps",
    eval_steps=0.5,
    save_strategy="steps",
    save_steps=0.5,
    save_total_limit=2,
    logging_steps=0.25,
    run_name="tiny-vdr",
    report_to="none",
    use_cpu=True,
)
queries = {number: row["query"] for number, row in enumerate(held_out)}
corpus = {number: row["image"] for number, row in enumerate(held_out)}
for place in range(4):
    for number, row in enumerate(held_out):
        corpus[len(held_out) * (place + 1) + number] = row[f"negative_{place}"]
relevant = {number: [number] for number in queries}


def evaluator(name, **options):
    return InformationRetrievalEvaluator(
        queries=queries, corpus=corpus, relevant_docs=relevant, batch_size=1, name=name, **options
    )


before = evaluator("vdr-eval-hard")(model)
trainer = SentenceTransformerTrainer(
    model=model,
    args=args,
    train_dataset=train,
    eval_dataset=held_out,
    loss=loss,
    evaluator=evaluator("vdr-eval-hard"),
)
trainer.train()
after = evaluator("vdr-eval-hard")(model)
for dim in DIMS:
    after |= evaluator(f"vdr-eval-hard-{dim}d", truncate_dim=dim)(model)
model.save_pretrained(OUTPUT + "/final")
vectors = model.encode(["How many employees?", "a pump"])
one = model.encode_document(held_out[0]["image"])
scores = model.similarity(vectors, vectors)
"""

# What stands in the place of the published model: its settings, and what a run of it takes.
CLIP: dict[str, Any] = {"DIMS": [24, 16, 8], "PIXELS": {}, "RATE": 3e-3}
# Its own limit is lower: pages of 64 x 64 are taken as they are by the script's alone (resizing differs by library).
QWEN3_VL: dict[str, Any] = {
    "DIMS": [64, 32, 16], "PIXELS": {"min_pixels": 28 * 28, "max_pixels": 64 * 64}, "RATE": 1e-3,
}  # fmt: skip


def our_imports() -> str:
    """The import lines with the same names out of `sightline.compat`."""
    return re.sub(r"from sentence_transformers[\w.]* import", "from sightline.compat import", IMPORTS)


def run(imports: str, settings: dict[str, Any], *, model: Path, data: Path, output: Path) -> dict[str, Any]:
    """Runs the script under these imports, which are nothing else; returns its names."""
    import datasets

    assert {type(node) for node in ast.parse(imports).body} == {ast.ImportFrom}
    datasets.config.HF_DATASETS_CACHE = output / "cache"
    names: dict[str, Any] = {"MODEL": str(model), "DATA": str(data), "OUTPUT": str(output)} | settings
    exec(compile(imports + SCRIPT, "script.py", "exec"), names)
    return names


def told(names: dict[str, Any]) -> dict[str, Any]:
    """What a run said, as JSON takes it: metrics before and after, the losses of training and of evaluation by step."""
    losses = {
        kind: {str(one["step"]): one[kind] for one in names["trainer"].state.log_history if kind in one}
        for kind in ("loss", "eval_loss")
    }
    return {
        "before": {name: float(value) for name, value in names["before"].items()},
        "after": {name: float(value) for name, value in names["after"].items()},
        "vectors": names["vectors"].tolist(),
        "page": names["one"].tolist(),
        "scores": names["scores"].tolist(),
    } | losses


def qwen3_vl(folder: Path) -> Path:
    """A tiny Qwen3-VL with the settings of one that is published for embedding; returns ``folder``."""
    from sightline.models.encoder import Encoder
    from support import tiny_models

    bare = tiny_models.qwen3_vl(folder.with_name("bare"))
    prompts = {"query": "Find the page of a report that answers: ", "document": ""}
    encoder: Encoder = Encoder.from_pretrained(bare, device="cpu", prompts=prompts)
    encoder.save_pretrained(folder)
    assert "lasttoken" in (folder / "1_Pooling" / "config.json").read_text()
    return folder


def read(path: Path) -> dict[str, Any]:
    """What `told` was written down as."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found
