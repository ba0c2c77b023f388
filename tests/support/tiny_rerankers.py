"""Tiny random-weight checkpoints with a sequence classification head, bare as transformers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.tiny_models import bert_tokenizer, qwen3
from support.tiny_modernbert import tokenizer_and_config

# Weights drawn wide, so that scores differ from pair to pair by far more than the tolerance of the tests.
SPREAD = 0.2
PAIRS = [
    ("hello", "the annual report"),
    ("How many employees worked in the northern plants in 2019?", "pump, valves, seals " * 40),
    ("a diagram", ""),
    ("", "a page"),
    ("long query " * 40, "long document " * 60),
    ("long query " * 40, "short"),
    ("Ünïcödé — 東京 🙂", "Table 3: revenue, 2019-2023 (EUR m)"),
    ("hello", "the annual report"),
    *(("costs of the plant", "table " * number) for number in range(1, 40, 3)),
]


def bert_scores(folder: Path, *, labels: int = 1, seed: int = 0, **facts: Any) -> Path:
    """A two-layer BERT that gives ``labels`` scores; ``facts`` go into its configuration; returns ``folder``."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    size = bert_tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, num_labels=labels, initializer_range=SPREAD, **facts,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def modernbert_scores(folder: Path) -> Path:
    """A four-layer ModernBERT with global and local attention; its tokenizer gives no segment ids."""
    import torch
    from transformers import ModernBertForSequenceClassification

    config = tokenizer_and_config(folder, num_labels=1, initializer_range=SPREAD)
    torch.manual_seed(0)
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    return folder


def qwen3_scores(folder: Path, *, limit: int = 48) -> Path:
    """A two-layer Qwen3 that scores at the last token; padded on the left."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(qwen3(folder.with_name(folder.name + "-lm")))
    tokenizer.model_max_length = limit
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=512, num_labels=1,
        pad_token_id=tokenizer.pad_token_id, initializer_range=SPREAD,
    )  # fmt: skip
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    return folder
