"""Chat templates that put a query and a document into one question, for language models that have none for pairs.

A model that was trained as a reranker wants the very words it was trained with; one that was not is served well by
the same words. In each template the messages have the roles ``query`` and ``document``, and a ``system`` message
(the prompt) takes the place of the instruction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sightline.errors import ConfigError

_JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
_TEXT = "{%- if part is string %}{{- part }}{%- elif 'text' in part %}{{- part.text }}"
_MEDIA = (
    "{%- elif 'image' in part or part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif 'video' in part or part.type == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
)


@dataclass(frozen=True)
class Preset:
    """How a language model is asked.

    Attributes:
        template: the chat template, in Jinja.
        answers: the words that say that the document fits and that it does not, each one token.
        model_types: transformers models that get it where nobody names one, because its special tokens are theirs.
        reason: where it comes from.
    """

    template: str
    answers: tuple[str, str]
    model_types: tuple[str, ...]
    reason: str


def _template(instruction: str, before_query: str, closing: str, media: str = "") -> str:
    """A template of ChatML's marks; its parts are joined without white space of their own."""
    contents = (
        "{%- macro contents(message) %}{%- if message.content is string %}{{- message.content }}"
        f"{{%- else %}}{{%- for part in message.content %}}{_TEXT}{media}{{%- endif %}}{{%- endfor %}}"
        "{%- endif %}{%- endmacro %}"
    )
    return (
        contents
        + f'{{%- set found = namespace(system="{instruction}", query="", document="") %}}'
        + "{%- for message in messages %}"
        + "".join(
            f"{{%- {'if' if role == 'system' else 'elif'} message.role == '{role}' %}}"
            f"{{%- set found.{role} = contents(message) %}}"
            for role in ("system", "query", "document")
        )
        + "{%- endif %}{%- endfor %}"
        + "{{- '<|im_start|>system\\n"
        + _JUDGE
        + "<|im_end|>\\n<|im_start|>user\\n' }}"
        + "{{- '<Instruct>: ' + found.system + '"
        + before_query
        + "' + found.query }}"
        + "{{- '\\n<Document>:"
        + (" " if before_query.endswith(" ") else "")
        + "' + found.document }}"
        + "{{- '<|im_end|>\\n' }}"
        + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n"
        + closing
        + "' }}{%- endif %}"
    )


PRESETS: Mapping[str, Preset] = {
    "qwen3-reranker": Preset(
        template=_template(
            "Given a web search query, retrieve relevant passages that answer the query",
            "\\n<Query>: ",
            "<think>\\n\\n</think>\\n\\n",
        ),
        answers=("yes", "no"),
        model_types=("qwen3", "qwen3_moe"),
        reason="the model card of Qwen/Qwen3-Reranker-0.6B (Zhang et al. 2025, https://arxiv.org/abs/2506.05176); "
        "the empty thought is there because Qwen3 thinks before it answers",
    ),
    "qwen3-vl-reranker": Preset(
        template=_template(
            "Given a search query, retrieve relevant candidates that answer the query.",
            "<Query>:",
            "",
            _MEDIA,
        ),
        answers=("yes", "no"),
        model_types=("qwen3_vl", "qwen3_vl_moe", "qwen2_vl", "qwen2_5_vl", "qwen3_5"),
        reason="the code of Qwen3-VL-Reranker (Li et al. 2026, https://github.com/QwenLM/Qwen3-VL-Embedding): "
        "its parts follow each other without a space or a line break; Qwen2-VL and later mark images alike",
    ),
}


def named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset named {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def for_model(model_type: str) -> str | None:
    """Name of the preset that fits a type of model, or None."""
    return next((name for name, preset in PRESETS.items() if model_type in preset.model_types), None)
