"""Tokenizers trained on the spot, in the manner of the real models, and the other files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.st_folders import write
from support.tiny_models import TRAINING_TEXT

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast


def byte_words(specials: Sequence[str], size: int = 400) -> Tokenizer:
    """Byte-level BPE, as Qwen, Llama 3 and ModernBERT have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TRAINING_TEXT, trainer)
    return raw


def gemma_words(specials: Sequence[str], size: int = 300) -> Tokenizer:
    """BPE over text with visible spaces, as Gemma has it; ``<unk>`` is among the specials."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), show_progress=False)
    raw.train_from_iterator(TRAINING_TEXT, trainer)
    return raw


def framed(raw: Tokenizer, first: str | None, last: str | None) -> Tokenizer:
    """``raw`` with a token put in front of every text, or behind it."""
    from tokenizers import processors

    named = [token for token in (first, last) if token is not None]
    pattern = [*([first] if first else []), "$A", *([last] if last else [])]
    raw.post_processor = processors.TemplateProcessing(
        single=pattern, special_tokens=[(token, raw.token_to_id(token)) for token in dict.fromkeys(named)]
    )
    return raw


def save_words(
    folder: Path,
    raw: Tokenizer,
    *,
    limit: int = 512,
    named: Mapping[str, str] | None = None,
    template: str | None = None,
    side: str = "right",
    tokenizer_class: str | None = None,
    **settings: Any,
) -> PreTrainedTokenizerFast:
    """Writes a tokenizer with its settings into ``folder``.

    Args:
        limit: tokens at most.
        named: tokens the processor looks up by name (``image_token`` and the like).
        template: a chat template, written as the processor's.
        side: where padding goes.
        tokenizer_class: the class the real files name.
        settings: ``pad_token`` and its like, ``model_input_names``.
    """
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    extra: dict[str, Any] = {"extra_special_tokens": dict(named)} if named else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=limit, padding_side=side, **settings, **extra
    )
    tokenizer.save_pretrained(folder)
    if template:
        write(folder / "chat_template.jinja", template)
    if tokenizer_class:
        name_class(folder, "tokenizer_config.json", tokenizer_class=tokenizer_class)
    return tokenizer


def name_class(folder: Path, file: str, **facts: Any) -> None:
    """Sets facts in one of the JSON files of ``folder``."""
    path = folder / file
    write(path, json.loads(path.read_text()) | facts)


def save_model(folder: Path, kind: type[Any], config: PreTrainedConfig, seed: int = 0) -> Path:
    """Writes a model of random weights; returns ``folder``."""
    import torch

    torch.manual_seed(seed)
    kind(config).save_pretrained(folder)
    return folder


def llama(size: int, **facts: Any) -> dict[str, Any]:
    """Settings of a two-layer language model, for the ``text_config`` of Llama, Qwen2 and Gemma."""
    return {
        "vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0, **facts,
    }  # fmt: skip


def vision(**facts: Any) -> dict[str, Any]:
    """Settings of a two-layer vision tower with 16 patches per image, for a ``vision_config``."""
    return {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8, **facts,
    }  # fmt: skip
