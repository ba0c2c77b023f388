"""Text models of a few thousand weights, and a padded batch for them: tests of running without padding."""

from __future__ import annotations

import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 90,
}


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(**SMALL), add_pooling_layer=False)


def roberta() -> PreTrainedModel:
    return RobertaModel(RobertaConfig(**SMALL, pad_token_id=1), add_pooling_layer=False)


def xlm_roberta() -> PreTrainedModel:
    return XLMRobertaModel(XLMRobertaConfig(**SMALL, pad_token_id=1), add_pooling_layer=False)


def modernbert() -> PreTrainedModel:
    return ModernBertModel(
        ModernBertConfig(**SMALL, local_attention=8, global_attn_every_n_layers=2, pad_token_id=0,
                         bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
    )  # fmt: skip


def qwen3() -> PreTrainedModel:
    return Qwen3Model(Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8, pad_token_id=0))


def distilbert() -> PreTrainedModel:
    return DistilBertModel(DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=90))


def mpnet() -> PreTrainedModel:
    return MPNetModel(MPNetConfig(**SMALL), add_pooling_layer=False)


def hidden(output: object) -> torch.Tensor:
    return output.last_hidden_state  # type: ignore[attr-defined, no-any-return]


def batch() -> dict[str, torch.Tensor]:
    lengths = (41, 30, 30, 7, 1)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    generator = torch.Generator().manual_seed(0)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, 90, (length,), generator=generator)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}
