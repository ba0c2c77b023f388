"""Items that are whole but that the model does not take are found before the first step, with row and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sightline.errors import DataError
from sightline.inputs.parse import parse
from sightline.losses.base import Loss
from sightline.losses.contrastive import InfoNCE
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.item_check import ItemCheck
from sightline.training.rows import as_rows
from sightline.training.source import RowSource
from sightline.training.trainer import Trainer
from sightline.types import Cost, Features, Item
from support.tiny_answers import TEMPLATE, qwen3_answers
from support.zoo.vision_language import paligemma

PAGE = Image.new("RGB", (32, 32), "red")
NO_SYSTEM = "{%- if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{%- endif %}"


def refused(model: Any, rows: Sequence[dict[str, Any]], folder: Path, loss: Loss | None = None) -> str:
    """What the look at the rows, which comes before the first step, stops a run with."""
    args = TrainingArguments(output_dir=str(folder))
    training = as_rows(list(rows))
    source = RowSource(model, loss or InfoNCE(), args, {"": training}, shows_progress=False)
    with pytest.raises(DataError) as caught:
        source.usable(training)
    return str(caught.value)


def test_chat_messages_of_text_for_a_model_without_a_template(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [{"q": f"pump {n}", "d": f"the pump {n}"} for n in range(40)]
    rows[30]["d"] = [{"role": "user", "content": [{"type": "text", "text": "the pump 30"}]}]
    args = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=4, disable_tqdm=True, save_strategy="no"
    )
    trainer = Trainer(tiny_encoder("bert"), InfoNCE(), train_dataset=rows, args=args)
    with pytest.raises(DataError, match="1 of 40 rows") as caught:
        trainer.train()
    assert trainer.state.global_step == 0
    assert "row 30, column 'd': the model takes text, but not chat messages" in str(caught.value)


def test_a_text_where_only_texts_with_images_are_taken(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(paligemma(tmp_path / "model"), device="cpu")
    rows: list[dict[str, Any]] = [
        {"q": {"text": f"pump {n}", "image": PAGE}, "d": {"text": f"the pump {n}", "image": PAGE}}
        for n in range(24)
    ]
    rows[17]["d"] = {"text": "the pump 17", "image": None}
    message = refused(encoder, rows, tmp_path / "run")
    assert "1 of 24 rows" in message
    assert "row 17, column 'd': the model takes image+text, but not text together" in message


def test_texts_without_a_route(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    words, pages = (Encoder.from_pretrained(tiny(name), device="cpu") for name in ("bert", "vit"))
    encoder = Encoder.from_routes(
        {"words": words, "pages": pages},
        mappings={("query", "text"): "words", ("document", "image"): "pages"},
    )
    rows: list[dict[str, Any]] = [{"q": f"pump {n}", "d": PAGE} for n in range(24)]
    rows[17]["d"] = "the pump 17"
    message = refused(encoder, rows, tmp_path / "one")
    assert "1 of 24 rows" in message
    assert "row 17, column 'd': no route takes 'text' items as document" in message
    message = refused(
        encoder, [{"q": f"pump {n}", "d": f"the pump {n}"} for n in range(24)], tmp_path / "all"
    )
    assert "24 of 24 rows" in message


def test_pairs_that_a_chat_template_refuses(tmp_path: Path) -> None:
    folder = qwen3_answers(tmp_path / "model", template=NO_SYSTEM + TEMPLATE)
    reranker = Reranker.from_pretrained(
        folder, device="cpu", prompts={"match": "Does it fit?"}, default_prompt_name="match"
    )
    rows = [{"q": "a pump", "d": "the pump", "label": 1}, {"q": "a pump", "d": "a page", "label": 0}]
    message = refused(reranker, rows, tmp_path / "run", BinaryCrossEntropy())
    assert "2 of 2 rows" in message
    assert "row 1, column 'q' with column 'd': the model's chat template refuses it: no system" in message


def test_texts_of_a_kind_are_asked_about_once() -> None:
    asked: list[Item] = []

    def preprocess(item: Item, *, role: str | None, prompt: str | None) -> Features:
        asked.append(item)
        return Features({}, "text", Cost(1))

    ask = ItemCheck(preprocess)
    kinds = [
        "a",
        {"role": "user", "content": "a"},
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        {"image": PAGE, "text": "a"},
    ]
    for number in range(3):
        for kind in kinds:
            ask(parse(kind), role="query", prompt=None)
        ask(parse(f"text {number}"), role="query", prompt=None)
        ask(parse([{"role": "user", "content": f"text {number}"}] * 2), role="query", prompt=None)
    assert len(asked) == len(kinds)
    ask(parse("a"), role="document", prompt=None)
    ask(parse("a"), role="query", prompt="find: ")
    assert len(asked) == len(kinds) + 2
