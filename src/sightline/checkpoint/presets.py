"""Chat templates that put a query and a document into one question, for language models that have none for pairs.

A model that was trained as a reranker wants the very words it was trained with; one that was not is served well by
the same words. In each template the messages have the roles ``query`` and ``document``, and a ``system`` message
(the prompt) takes the place of the instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sightline.errors import CheckpointError, ConfigError
from sightline.inputs.chat import infer_format

_JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
_TASK = "Given a search query, retrieve relevant candidates that answer the query."
_TEXT = "{%- if part is string %}{{- part }}{%- elif 'text' in part %}{{- part.text }}"
_MEDIA = (
    "{%- elif 'image' in part or part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif 'video' in part or part.type == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
)
ROLES = ("system", "query", "document")


@dataclass(frozen=True)
class Preset:
    """How a language model is asked.

    Attributes:
        template: from the model's own chat template, if it has one, to the one that carries pairs, in Jinja.
        answers: the words that say that the document fits and that it does not, each one token.
        model_types: transformers models that get it where nobody names one, because its special tokens are theirs.
        reason: where it comes from.
    """

    template: Callable[[str | None], str]
    answers: tuple[str, str]
    model_types: tuple[str, ...]
    reason: str


def _sorted(content: str) -> str:
    """Jinja that keeps what each role says in ``found``; ``content`` is how it is read off a message."""
    cases = "".join(
        f"{{%- {'if' if role == ROLES[0] else 'elif'} message.role == '{role}' %}}"
        f"{{%- set found.{role} = {content} %}}"
        for role in ROLES
    )
    return "{%- for message in messages %}" + cases + "{%- endif %}{%- endfor %}"


def _chatml(
    instruction: str, before_query: str, before_document: str, closing: str, media: str = ""
) -> Callable[[str | None], str]:
    """A template of ChatML's marks, whose parts are joined without white space of their own."""
    contents = (
        "{%- macro contents(message) %}{%- if message.content is string %}{{- message.content }}"
        f"{{%- else %}}{{%- for part in message.content %}}{_TEXT}{media}{{%- endif %}}{{%- endfor %}}"
        "{%- endif %}{%- endmacro %}"
    )
    template = (
        contents
        + f'{{%- set found = namespace(system="{instruction}", query="", document="") %}}'
        + _sorted("contents(message)")
        + f"{{{{- '<|im_start|>system\\n{_JUDGE}<|im_end|>\\n<|im_start|>user\\n' }}}}"
        + f"{{{{- '<Instruct>: ' + found.system + '{before_query}' + found.query }}}}"
        + f"{{{{- '{before_document}' + found.document + '<|im_end|>\\n' }}}}"
        + f"{{%- if add_generation_prompt %}}{{{{- '<|im_start|>assistant\\n{closing}' }}}}{{%- endif %}}"
    )
    return lambda own: template


def _within(own: str | None) -> str:
    """The model's own template, which is given the pair as one message of a user's."""
    if own is None:
        raise CheckpointError(
            "the preset 'judge' needs a model with a chat template, into which it puts the pair"
        )
    structured = infer_format(own) == "structured"

    def text(words: str) -> str:
        return f"[{{'type': 'text', 'text': {words}}}]" if structured else words

    nothing = "[]" if structured else "''"
    pieces = (
        text(f"'{_JUDGE}\\n\\n<Instruct>: '"), "found.system", text("'\\n<Query>: '"), "found.query",
        text("'\\n<Document>: '"), "found.document",
    )  # fmt: skip
    return (
        f"{{%- set found = namespace(system={text(repr(_TASK))}, query={nothing}, document={nothing}) %}}"
        + _sorted("message.content")
        + f"{{%- set messages = [{{'role': 'user', 'content': {' + '.join(pieces)}}}] %}}"
        + own
    )


PRESETS: Mapping[str, Preset] = {
    "qwen3-reranker": Preset(
        template=_chatml(
            "Given a web search query, retrieve relevant passages that answer the query",
            "\\n<Query>: ",
            "\\n<Document>: ",
            "<think>\\n\\n</think>\\n\\n",
        ),
        answers=("yes", "no"),
        model_types=("qwen3", "qwen3_moe"),
        reason="the model card of Qwen/Qwen3-Reranker-0.6B (Zhang et al. 2025, https://arxiv.org/abs/2506.05176); "
        "the empty thought is there because Qwen3 thinks before it answers",
    ),
    "qwen3-vl-reranker": Preset(
        template=_chatml(_TASK, "<Query>:", "\\n<Document>:", "", _MEDIA),
        answers=("yes", "no"),
        model_types=("qwen3_vl", "qwen3_vl_moe", "qwen2_vl", "qwen2_5_vl", "qwen3_5"),
        reason="the code of Qwen3-VL-Reranker (Li et al. 2026, https://github.com/QwenLM/Qwen3-VL-Embedding): "
        "its parts follow each other without a space or a line break; Qwen2-VL and later mark images alike",
    ),
    "judge": Preset(
        template=_within,
        answers=("yes", "no"),
        model_types=(),
        reason="any other chat model: the same question as a user's message in the model's own template, whose marks "
        "for turns and media it knows; all in one message, because many templates refuse a system message",
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


def for_model(model_type: str) -> str:
    """Name of the preset that fits a type of model."""
    return next((name for name, preset in PRESETS.items() if model_type in preset.model_types), "judge")
