"""Tiny random-weight language models that know the words yes and no, bare as transformers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.tiny_models import QWEN_TEMPLATE, qwen3, qwen3_vl
from support.tiny_rerankers import SPREAD

# Carries a pair because it writes every role down, as ChatML does; texts only.
TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# Knows people only, as the templates of many chat models do.
USERS_ONLY = (
    "{%- for message in messages %}{%- if message.role == 'user' %}{{- message.content }}{%- endif %}"
    "{%- endfor %}"
)


def _with_words(tokenizer: Any) -> None:
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(word, single_word=True) for word in ("yes", "no")])


def spread(model: Any, width: float, seed: int = 0) -> None:
    """Weights drawn wide, so that scores differ from pair to pair by far more than the tests' tolerance."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, width, generator=generator)


def _text_model(folder: Path, template: str | None, make: Any, limit: int) -> Path:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(qwen3(folder.with_name(folder.name + "-words")))
    _with_words(tokenizer)
    tokenizer.model_max_length = limit
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    model = make(tokenizer)
    spread(model, SPREAD)
    model.save_pretrained(folder)
    return folder


def qwen3_answers(folder: Path, *, template: str | None = TEMPLATE, limit: int = 160) -> Path:
    """A two-layer Qwen3 whose head shares no weights with its embeddings."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    def make(tokenizer: Any) -> Any:
        return Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=512,
                tie_word_embeddings=False,
            )
        )  # fmt: skip

    return _text_model(folder, template, make, limit)


def gemma2_answers(folder: Path, *, template: str = TEMPLATE) -> Path:
    """A two-layer Gemma 2, which caps its logits: at 1, so that the cap shows."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    def make(tokenizer: Any) -> Any:
        return Gemma2ForCausalLM(
            Gemma2Config(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=512,
                query_pre_attn_scalar=8, final_logit_softcapping=1.0,
            )
        )  # fmt: skip

    return _text_model(folder, template, make, 480)


def qwen3_vl_answers(folder: Path, *, template: str = QWEN_TEMPLATE) -> Path:
    """A three-layer Qwen3-VL whose head shares its weights with its embeddings."""
    from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

    qwen3_vl(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    _with_words(tokenizer)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    spread(model, SPREAD / 2)
    model.save_pretrained(folder)
    return folder
