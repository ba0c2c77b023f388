"""The two published scripts that train a multimodal reranker, with a tiny model and tiny data in their places.

Written again from their description in Sentence Transformers 6 ("Multimodal training" of a CrossEncoder,
https://sbert.net/examples/cross_encoder/training/multimodal/, training_doodles_any_to_any.py and
training_doodles_feature_extraction.py): a vision-language model is made a reranker, by the log-odds of the tokens "1"
and "0" (LogitScore) or by a linear layer on its last vector that begins as the difference of their two embeddings
(Pooling, Dense). Pictures and captions are read in both directions, each a dataset of its own with a prompt of its own;
every pair that fits comes with four that do not, under binary cross-entropy; one evaluator per direction, before,
during and after; both are saved and uploaded.

What is other than there: the model and its numbers' type (float32, on the CPU), the sizes, the learning rate (a tiny
model moves in a few steps) and the batch size. An epoch is one step over all pairs. What the
evaluators say is kept.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

IMPORTS = """
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
"""
HEAD = """
import logging
import random
import traceback

from datasets import load_dataset

logging.basicConfig(format="%(asctime)s - %(message)s", datefmt="%Y-%m-%d %H:%M:%S", level=logging.INFO)
train_batch_size, eval_batch_size, num_epochs = 15, 16, 3
neg_to_pos_ratio, num_eval_negatives, eval_fraction, max_image_size = 4, 4, 0.5, 64
seed = 42
prompts = {
    "image_to_text": "Given the image, judge whether the text matches it. Respond with 1 if they match, 0 if not.",
    "text_to_image": "Given the text, judge whether the image matches it. Respond with 1 if they match, 0 if not.",
}
"""
ANY_TO_ANY = """
transformer = Transformer(
    MODEL,
    transformer_task="any-to-any",
    model_kwargs={"torch_dtype": "float32", "attn_implementation": "sdpa"},
    processing_kwargs={"chat_template": {"add_generation_prompt": True}},
)
transformer.processor.chat_template = transformer.processor.chat_template.replace(
    'message.role == "user"', 'message.role in ["user", "query", "document"]'
)
score_head = LogitScore(
    true_token_id=transformer.tokenizer.convert_tokens_to_ids("1"),
    false_token_id=transformer.tokenizer.convert_tokens_to_ids("0"),
)
model = CrossEncoder(modules=[transformer, score_head], num_labels=1, prompts=prompts)
"""
FEATURES = """
transformer = Transformer(
    MODEL,
    transformer_task="feature-extraction",
    config_kwargs={"num_labels": 1},
    model_kwargs={"torch_dtype": "float32", "attn_implementation": "sdpa"},
    processing_kwargs={"chat_template": {"add_generation_prompt": True}},
)
transformer.processor.chat_template = transformer.processor.chat_template.replace(
    'message.role == "user"', 'message.role in ["user", "query", "document"]'
)
pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
true_token_id = transformer.tokenizer.convert_tokens_to_ids("1")
false_token_id = transformer.tokenizer.convert_tokens_to_ids("0")
embeddings = transformer.model.get_input_embeddings().weight.data
dense = Dense(
    transformer.get_embedding_dimension(),
    1,
    bias=False,
    activation_function=None,
    init_weight=(embeddings[true_token_id] - embeddings[false_token_id]).unsqueeze(0),
    module_output_name="scores",
)
model = CrossEncoder(modules=[transformer, pooling, dense], prompts=prompts)
"""
REST = """
rows = load_dataset(DATA, split="train")
rows = rows.map(lambda example: {"image": example["image"].resize((max_image_size, max_image_size))})
rows = rows.train_test_split(test_size=eval_fraction, seed=seed)
train_split, eval_split = rows["train"], rows["test"]
rng = random.Random(seed)


def expand_with_negatives(batch, first, second):
    firsts, seconds, labels = [], [], []
    size = len(batch[first])
    for i in range(size):
        others = rng.sample([j for j in range(size) if j != i], min(neg_to_pos_ratio, size - 1))
        firsts += [batch[first][i]] * (1 + len(others))
        seconds += [batch[second][i], *(batch[second][j] for j in others)]
        labels += [1, *(0 for _ in others)]
    return {first: firsts, second: seconds, "label": labels}


def pair_dataset(split, first, second):
    return split.select_columns([first, second]).map(
        expand_with_negatives, batched=True, fn_kwargs={"first": first, "second": second}
    )


train_image_to_text = pair_dataset(train_split, "image", "text")
eval_image_to_text = pair_dataset(eval_split, "image", "text")
train_text_to_image = pair_dataset(train_split, "text", "image")
eval_text_to_image = pair_dataset(eval_split, "text", "image")


def rerank_samples(queries, documents):
    found = []
    for i in range(len(queries)):
        others = rng.sample([j for j in range(len(documents)) if j != i], min(num_eval_negatives, len(documents) - 1))
        found.append({"query": queries[i], "positive": [documents[i]], "negative": [documents[j] for j in others]})
    return found


eval_images, eval_texts = eval_split["image"], eval_split["text"]
rng = random.Random(seed)
samples = {
    "image_to_text": rerank_samples(eval_images, eval_texts),
    "text_to_image": rerank_samples(eval_texts, eval_images),
}
image_to_text_evaluator = CrossEncoderRerankingEvaluator(
    samples=samples["image_to_text"], name="doodles-image-to-text-eval", prompt_name="image_to_text",
    batch_size=eval_batch_size, show_progress_bar=True,
)
text_to_image_evaluator = CrossEncoderRerankingEvaluator(
    samples=samples["text_to_image"], name="doodles-text-to-image-eval", prompt_name="text_to_image",
    batch_size=eval_batch_size, show_progress_bar=True,
)
before = image_to_text_evaluator(model) | text_to_image_evaluator(model)

loss = BinaryCrossEntropyLoss(model)
args = CrossEncoderTrainingArguments(
    output_dir=OUTPUT,
    num_train_epochs=num_epochs,
    per_device_train_batch_size=train_batch_size,
    per_device_eval_batch_size=eval_batch_size,
    prompts={"image_to_text": model.prompts["image_to_text"], "text_to_image": model.prompts["text_to_image"]},
    gradient_accumulation_steps=4,
    seed=seed,
    warmup_ratio=0.1,
    learning_rate=2e-3,
    fp16=False,
    bf16=False,
    eval_strategy="steps",
    eval_steps=0.25,
    save_strategy="steps",
    save_steps=0.5,
    save_total_limit=2,
    logging_steps=0.25,
    run_name="reranker-doodles",
    report_to="none",
    use_cpu=True,
)
trainer = CrossEncoderTrainer(
    model=model,
    args=args,
    train_dataset={"image_to_text": train_image_to_text, "text_to_image": train_text_to_image},
    eval_dataset={"image_to_text": eval_image_to_text, "text_to_image": eval_text_to_image},
    loss=loss,
    evaluator=[image_to_text_evaluator, text_to_image_evaluator],
)
trainer.train()
after = image_to_text_evaluator(model) | text_to_image_evaluator(model)
model.save_pretrained(OUTPUT + "/final")
try:
    model.push_to_hub("reranker-doodles")
except Exception:
    uploading = traceback.format_exc()
"""
SCRIPTS = {"answer": HEAD + ANY_TO_ANY + REST, "pooled": HEAD + FEATURES + REST}

_CONTENT = (
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for content in message.content %}"
    "{%- if content.type == 'image' or 'image' in content %}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}{%- endfor %}{%- endif %}"
)
# Knows system and user only, like the templates of the models that are published.
TEMPLATE = (
    "{%- for message in messages %}{%- if message.role == 'system' or message.role == \"user\" %}"
    f"{{{{- '<|im_start|>' + message.role + '\\n' }}}}{_CONTENT}{{{{- '<|im_end|>\\n' }}}}{{%- endif %}}{{%- endfor %}}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def our_imports() -> str:
    """The import lines with the same names out of `sightline.compat`."""
    return re.sub(r"from sentence_transformers[\w.]* import", "from sightline.compat import", IMPORTS)


def run(imports: str, kind: str, *, model: Path, data: Path, output: Path) -> dict[str, Any]:
    """Runs a script under these imports, which are nothing else; returns its names."""
    import datasets

    assert {type(node) for node in ast.parse(imports).body} == {ast.ImportFrom}
    datasets.config.HF_DATASETS_CACHE = (
        output / "cache"
    )  # what another run made would not draw its numbers again
    names: dict[str, Any] = {"MODEL": str(model), "DATA": str(data), "OUTPUT": str(output)}
    exec(compile(imports + SCRIPTS[kind], f"{kind}.py", "exec"), names)
    return names


def pairs(names: dict[str, Any]) -> dict[str, list[tuple[Any, Any]]]:
    """The evaluators' pairs by direction."""
    return {
        direction: [
            (one["query"], other) for one in samples for other in [*one["positive"], *one["negative"]]
        ]
        for direction, samples in names["samples"].items()
    }


def scores(model: Any, names: dict[str, Any]) -> dict[str, np.ndarray]:
    """A model's scores of the evaluators' pairs by direction, each with its prompt."""
    return {
        direction: np.asarray(model.predict(some, prompt_name=direction))
        for direction, some in pairs(names).items()
    }


def told(names: dict[str, Any]) -> dict[str, Any]:
    """What a run said, as JSON takes it: metrics before and after, and those during it by step."""
    during: dict[str, dict[str, float]] = {}
    for entry in names["trainer"].state.log_history:
        found = {
            name: float(value)
            for name, value in entry.items()
            if re.search(r"(ndcg@10|map|eval_\w+_loss|sequential_score)$", name)
        }
        during.setdefault(str(entry["step"]), {}).update(found)
    return {
        "before": {name: float(value) for name, value in names["before"].items()},
        "after": {name: float(value) for name, value in names["after"].items()},
        "during": {step: found for step, found in during.items() if found},
        "uploading": names["uploading"],
    }


def doodles(folder: Path, count: int = 12) -> Path:
    """A tiny dataset of pictures and captions, as ``load_dataset(folder, split="train")`` reads it."""
    import datasets
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True)
    images, texts = [], []
    for number in range(count):
        image = Image.new("RGB", (72, 60), "white")
        draw = ImageDraw.Draw(image)
        for bit in range(4):
            if number >> bit & 1:
                draw.rectangle((18 * bit, 6, 18 * bit + 12, 54), fill=("black", "red", "blue", "green")[bit])
        images.append(image)
        texts.append(f"A doodle of {number} pumps, {(number * 7) % 16} valves and {number % 3} seals.")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"image": images, "text": texts}, features=features)
    rows.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    return folder


def vision_model(folder: Path) -> Path:
    """A tiny Qwen3-VL whose images of 64 x 64 pixels are taken as they are: resizing differs by library."""
    from support.tiny_answers import qwen3_vl_answers

    qwen3_vl_answers(folder, template=TEMPLATE)
    path = folder / "preprocessor_config.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"size": {"shortest_edge": 28 * 28, "longest_edge": 128 * 128}}))
    return folder
