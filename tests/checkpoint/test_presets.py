"""The templates of presets write what was published with the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from sightline.checkpoint.presets import PRESETS
from sightline.errors import CheckpointError
from sightline.inputs.chat import infer_format
from support.tiny_answers import qwen3_answers

JUDGE = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
PUBLISHED = {
    "qwen3-reranker": JUDGE
    + "<Instruct>: {task}\n<Query>: a seal?\n<Document>: It lies\nbeneath.<|im_end|>\n<|im_start|>assistant\n"
    + "<think>\n\n</think>\n\n",
    "qwen3-vl-reranker": JUDGE
    + "<Instruct>: {task}<Query>:a seal?\n<Document>:It lies\nbeneath.<|im_end|>\n<|im_start|>assistant\n",
}
DEFAULT = {
    "qwen3-reranker": "Given a web search query, retrieve relevant passages that answer the query",
    "qwen3-vl-reranker": "Given a search query, retrieve relevant candidates that answer the query.",
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(qwen3_answers(tmp_path_factory.mktemp("presets") / "qwen3"))


def rendered(tokenizer: AutoTokenizer, name: str, messages: list[dict[str, object]]) -> str:
    return tokenizer.apply_chat_template(
        messages, chat_template=PRESETS[name].template(None), tokenize=False, add_generation_prompt=True
    )


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_words_are_those_published(name: str, structured: bool, tokenizer: AutoTokenizer) -> None:
    def message(role: str, text: str) -> dict[str, object]:
        return {"role": role, "content": [{"type": "text", "text": text}] if structured else text}

    pair = [message("query", "a seal?"), message("document", "It lies\nbeneath.")]
    assert rendered(tokenizer, name, pair) == PUBLISHED[name].format(task=DEFAULT[name])
    asked = [message("system", 'Find "seals".'), *pair]
    assert rendered(tokenizer, name, asked) == PUBLISHED[name].format(task='Find "seals".')


def test_media_stand_where_they_were_put(tokenizer: AutoTokenizer) -> None:
    query = {
        "role": "query",
        "content": [{"type": "image", "image": "x"}, {"type": "text", "text": "like this"}],
    }
    document = {
        "role": "document",
        "content": [{"type": "text", "text": "a"}, {"type": "video", "video": "x"}],
    }
    text = rendered(tokenizer, "qwen3-vl-reranker", [query, document])
    assert "<Query>:<|vision_start|><|image_pad|><|vision_end|>like this\n<Document>:a" in text
    assert "a<|vision_start|><|video_pad|><|vision_end|><|im_end|>" in text


PEOPLE = (  # as Gemma's: no system, and turns alternate
    "{%- for message in messages %}{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('roles must alternate') }}{%- endif %}{{- '<turn>' + message.role + '\n' }}"
    "CONTENT{{- '<end>' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<turn>model\n' }}{%- endif %}"
)
CONTENTS = {
    False: "{{- message.content }}",
    True: "{%- for part in message.content %}{%- if part.type == 'image' %}{{- '<image>' }}{%- else %}"
    "{{- part.text }}{%- endif %}{%- endfor %}",
}


@pytest.mark.parametrize("structured", CONTENTS)
def test_the_pair_is_one_message_in_a_template_of_any_model(structured: bool, tokenizer: Any) -> None:
    def message(role: str, text: str) -> dict[str, object]:
        return {"role": role, "content": [{"type": "text", "text": text}] if structured else text}

    own = PEOPLE.replace("CONTENT", CONTENTS[structured])
    template = PRESETS["judge"].template(own)
    assert infer_format(template) == infer_format(own) == ("structured" if structured else "flat")
    pair = [message("query", "a seal?"), message("document", "It lies\nbeneath.")]
    asked = [message("system", "Find it."), *pair]
    judge = JUDGE.removeprefix("<|im_start|>system\n").removesuffix("<|im_end|>\n<|im_start|>user\n")
    for messages, task in ((pair, DEFAULT["qwen3-vl-reranker"]), (asked, "Find it.")):
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        question = f"<Instruct>: {task}\n<Query>: a seal?\n<Document>: It lies\nbeneath."
        assert text == f"<turn>user\n{judge}\n\n{question}<end><turn>model\n"
    if structured:
        pair[0] = {"role": "query", "content": [{"type": "image", "image": "x"}]}
        text = tokenizer.apply_chat_template(pair, chat_template=template, tokenize=False)
        assert "\n<Query>: <image>\n<Document>: It" in text


def test_the_judge_needs_a_template() -> None:
    with pytest.raises(CheckpointError, match="needs a model with a chat template"):
        PRESETS["judge"].template(None)


def test_every_preset_is_in_the_docs() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "rerankers.md").read_text()
    for name, preset in PRESETS.items():
        assert f"`{name}`" in docs
        assert preset.reason
