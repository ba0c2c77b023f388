"""What tiny ModernBERTs have in common: a tokenizer without segment ids, and four layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.tiny_models import bert_tokenizer

if TYPE_CHECKING:
    from transformers import ModernBertConfig


def tokenizer_and_config(folder: Path, **facts: Any) -> ModernBertConfig:
    """Writes the tokenizer into ``folder``; the settings of a model for it, global and local attention by turns."""
    from transformers import BertTokenizerFast, ModernBertConfig, PreTrainedTokenizerFast

    size = bert_tokenizer(folder)
    words = BertTokenizerFast.from_pretrained(folder)
    for file in folder.iterdir():
        file.unlink()
    marks = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "mask", "unk")}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer, model_max_length=64, **marks,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return ModernBertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, local_attention=16, global_attn_every_n_layers=2,
        pad_token_id=tokenizer.pad_token_id, cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id, bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id, **facts,
    )  # fmt: skip
