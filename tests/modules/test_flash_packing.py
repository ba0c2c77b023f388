"""Flash kernels without padding, by stand-ins that compute on the CPU what the kernels compute on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.integrations.flash_attention import get_target_dtype
from transformers.masking_utils import flash_attention_mask

from sightline.modules import attention, flash, packing, varlen_attention
from sightline.modules.flash import fitting_attention, runs_flash
from sightline.modules.language_model import find_body
from sightline.modules.packing import Packing, TextPacking, find_packing
from sightline.modules.segments import Segments
from support.unpadded import batch, bert, hidden, modernbert, mpnet, qwen3, roberta

STRICT, LENIENT = "kernels-community/flash-stand-in", "flash_stand_in_of_any_type"


def one_sequence(
    query_THd: Tensor, key_TKd: Tensor, value_TKd: Tensor, scale: float, left: int, right: int
) -> Tensor:
    """(T, H, d) by the formula; ``left`` and ``right`` count the neighbours that a position sees, -1 for all."""
    repeats = query_THd.shape[1] // key_TKd.shape[1]
    key_THd, value_THd = (one.repeat_interleave(repeats, 1) for one in (key_TKd, value_TKd))
    scores_HTT = torch.einsum("qhd,khd->hqk", query_THd.double(), key_THd.double()) * scale
    steps_T = torch.arange(len(query_THd))
    ahead_TT = steps_T[None] - steps_T[:, None]
    if left >= 0:
        scores_HTT = scores_HTT.masked_fill(ahead_TT < -left, -torch.inf)
    if right >= 0:
        scores_HTT = scores_HTT.masked_fill(ahead_TT > right, -torch.inf)
    found = torch.einsum("hqk,khd->qhd", scores_HTT.softmax(-1), value_THd.double())
    return found.to(query_THd.dtype)


def stand_in(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    max_length_q: int | None = None,
    max_length_k: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers' flash attention makes of a padded batch, and of one row with its bounds."""
    assert not dropout
    target = get_target_dtype(query, module)
    if target is not None:
        query, key, value = (one.to(target) for one in (query, key, value))
    strict = module.config._attn_implementation == STRICT  # type: ignore[union-attr]
    if strict and query.dtype not in varlen_attention.HALF:
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    causal = bool(module.is_causal) if is_causal is None else is_causal
    left = -1 if sliding_window is None else sliding_window - 1
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rows = [one.transpose(1, 2) for one in (query, key, value)]
    result = torch.zeros_like(rows[0])
    if cu_seq_lens_q is None:
        for row in range(len(query)):
            real = slice(None) if attention_mask is None else attention_mask[row].bool()
            parts = (one[row][real] for one in rows)
            result[row, real] = one_sequence(*parts, scale, left, 0 if causal else left)
        return result, None
    assert attention_mask is None
    assert cu_seq_lens_k is not None
    assert cu_seq_lens_q.dtype == cu_seq_lens_k.dtype == torch.int32
    ends = cu_seq_lens_q.tolist()
    assert ends == cu_seq_lens_k.tolist()
    assert max_length_q == max_length_k == max(b - a for a, b in pairwise(ends))
    found = [
        one_sequence(*(one[0, start:end] for one in rows), scale, left, 0 if causal else left)
        for start, end in pairwise(ends)
    ]
    return torch.cat(found)[None], None


@pytest.fixture(autouse=True)
def flash_kernels() -> Iterator[None]:
    """The stand-ins, under names of flash kernels."""
    functions, masks = AttentionInterface(), AttentionMaskInterface()
    for name in (STRICT, LENIENT):
        AttentionInterface.register(name, stand_in)
        AttentionMaskInterface.register(name, flash_attention_mask)
    yield
    for name in (STRICT, LENIENT):
        del functions._global_mapping[name]
        del masks._global_mapping[name]


def made(make: Callable[[], PreTrainedModel], kernel: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = make().eval()
    model.config._attn_implementation = kernel
    return model


@pytest.mark.parametrize("make", [bert, roberta, modernbert, qwen3])
def test_a_flash_kernel_gets_the_bounds_and_gives_the_padded_vectors(
    make: Callable[[], PreTrainedModel],
) -> None:
    model, arguments = made(make, LENIENT), batch()
    if make is roberta:
        arguments["input_ids"][arguments["attention_mask"] == 0] = 1
    found = find_packing(model, hidden)
    assert found is not None
    assert found.flash
    assert not found.varlen
    padded = hidden(model(**arguments)) * arguments["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(found.call(model, arguments, hidden), padded, atol=1e-5, rtol=1e-5)


def test_weights_in_float32_are_tried_in_the_type_the_kernel_computes_in() -> None:
    model, arguments = made(qwen3, STRICT), batch()
    assert runs_flash(model)
    texts = TextPacking(hidden)
    assert not texts.possible(model), "in float32 it runs sdpa"
    with torch.autocast("cpu", torch.bfloat16):
        assert texts.possible(model)
        found = texts.of(model, arguments)
        assert found is not None
        assert found.flash
        packed = found.call(model, arguments, hidden)
        padded = hidden(model(**arguments)) * arguments["attention_mask"].unsqueeze(-1)
    real = arguments["attention_mask"].bool()
    assert torch.cosine_similarity(packed[real], padded[real]).min() > 0.9999


def test_a_flash_model_in_float32_runs_sdpa_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model, arguments = made(qwen3, STRICT), batch()
    flash._told.clear()
    with pytest.raises(RuntimeError, match="fp16 and bf16"):
        model(**arguments)
    for _ in range(2):
        with fitting_attention(model):
            found = hidden(model(**arguments))
    assert model.config._attn_implementation == STRICT
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "what is not under bf16 runs sdpa" in caplog.text
    model.config._attn_implementation = "sdpa"
    assert torch.equal(found, hidden(model(**arguments)))
    model.config._attn_implementation = STRICT
    with torch.autocast("cpu", torch.bfloat16), fitting_attention(model):
        assert model.config._attn_implementation == STRICT


def test_a_reranker_with_a_flash_kernel_is_told_from_its_head_where_the_kernel_cannot_run() -> None:
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                    intermediate_size=48, vocab_size=90, pad_token_id=0)
    ).eval()  # fmt: skip
    model.config._attn_implementation = STRICT
    assert find_body(model) is model.model
    assert {part.config._attn_implementation for part in (model, model.model)} == {STRICT}


def test_why_texts_are_padded_is_logged_and_a_lack_of_memory_is_no_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    texts, model = TextPacking(hidden), made(mpnet, "sdpa")
    arguments = batch()
    assert texts.of(model, arguments) is None
    assert texts.of(model, arguments) is None
    assert [one.getMessage().split(":")[0] for one in caplog.records] == [
        "Texts run padded through MPNetModel"
    ]

    def fails(*args: Any, **kwargs: Any) -> Tensor:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(packing.Packing, "call", fails)
    with pytest.raises(torch.OutOfMemoryError):
        TextPacking(hidden).possible(made(qwen3, "sdpa"))


def test_torchs_kernel_is_taken_where_it_computes() -> None:
    model = made(bert, "sdpa")
    found = Packing(0, False, frozenset(), varlen=True, drops=True)
    assert not found.suits(model, training=False)  # in float32
    with torch.autocast("cpu", torch.bfloat16):
        assert found.suits(model, training=False)
        assert not found.suits(model, training=True)
    assert found.suits(model.bfloat16(), training=False)
    heads = torch.empty(1, 1, 8, dtype=torch.bfloat16)
    assert not varlen_attention.suits(heads, 0.0)  # on a CPU


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("key_heads", [1, 4])
def test_torchs_kernel_is_called_for_what_our_attention_computes(
    causal: bool, window: int | None, key_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernel(
        query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int,
        *, scale: float, window_size: tuple[int, int], enable_gqa: bool,
    ) -> Tensor:  # fmt: skip
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert max_q == max_k == 9
        assert enable_gqa or key.shape[1] == query.shape[1]
        ends = cu_seq_q.tolist()
        found = [
            one_sequence(query[a:b], key[a:b], value[a:b], scale, *window_size) for a, b in pairwise(ends)
        ]
        return torch.cat(found)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    torch.manual_seed(0)
    packed = Segments((9, 3, 3, 1))
    query, key, value = (torch.randn(16, heads, 8) for heads in (4, key_heads, key_heads))
    found = varlen_attention.varlen(query, key, value, packed, 0.3, causal, window)
    wanted = attention._per_group(query, key, value, packed.groups, 0.3, causal, window, 0.0)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [modernbert, qwen3])
def test_packed_and_padded_agree_on_a_gpu(make: Callable[[], PreTrainedModel]) -> None:
    torch.manual_seed(0)
    model = make().eval().to("cuda", torch.bfloat16)
    arguments = {name: value.to("cuda") for name, value in batch().items()}
    found = find_packing(model, hidden)
    assert found is not None
    assert found.varlen
    real = arguments["attention_mask"].bool()
    gradients = []
    vectors = []
    for values in (hidden(model(**arguments)), found.call(model, arguments, hidden)):
        vectors.append(values[real].float())
        vectors[-1].square().sum().backward()
        gradients.append(
            torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
        )
        model.zero_grad()
    assert torch.cosine_similarity(*vectors).min() > 0.999
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999
