"""The templates of presets write what was published with the models."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sightline.checkpoint.presets import PRESETS
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
        messages, chat_template=PRESETS[name].template, tokenize=False, add_generation_prompt=True
    )


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("name", PRESETS)
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


def test_every_preset_is_in_the_docs() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "rerankers.md").read_text()
    for name, preset in PRESETS.items():
        assert f"`{name}`" in docs
        assert preset.reason
