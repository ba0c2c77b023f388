"""Which models run without padding, and that they then give the same vectors and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel

from sightline.modules import attention
from sightline.modules.packing import TextPacking, find_packing
from support.unpadded import (
    SMALL,
    batch,
    bert,
    distilbert,
    hidden,
    modernbert,
    mpnet,
    qwen3,
    roberta,
    xlm_roberta,
)


@pytest.mark.parametrize("make", [bert, roberta, xlm_roberta, modernbert, qwen3])
def test_packed_and_padded_give_the_same_vectors_and_gradients(make: Callable[[], PreTrainedModel]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    arguments = batch()
    if make in (roberta, xlm_roberta):
        arguments["input_ids"][arguments["attention_mask"] == 0] = 1
    mask = arguments["attention_mask"].unsqueeze(-1)
    padded = hidden(model(**arguments)) * mask
    weights = torch.randn_like(padded)
    (padded * weights).sum().backward()
    expected = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()

    packing = find_packing(model, hidden)
    assert packing is not None
    packed = packing.call(model, arguments, hidden)
    (packed * weights).sum().backward()
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-5)
    for name, one in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(one.grad, expected[name], atol=2e-5, rtol=1e-4, msg=name)


def test_a_model_whose_positions_depend_on_the_row_keeps_its_padding() -> None:
    model = mpnet().train()
    before = model.config._attn_implementation
    assert find_packing(model, hidden) is None
    assert model.config._attn_implementation == before
    assert all(module.training for module in model.modules())


def test_a_model_that_takes_no_positions_keeps_its_padding() -> None:
    torch.manual_seed(0)
    model = distilbert()
    packing = find_packing(model, hidden)
    if packing is not None:  # a release of transformers that takes them
        arguments = batch()
        found = packing.call(model.eval(), arguments, hidden)
        expected = hidden(model(**arguments)) * arguments["attention_mask"].unsqueeze(-1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_an_attention_function_that_was_asked_for_stays() -> None:
    model = BertModel._from_config(BertConfig(**SMALL), attn_implementation="eager")
    assert find_packing(model, hidden) is None
    assert model.config._attn_implementation == "eager"


def test_trying_draws_no_random_numbers_and_ours_is_not_saved(tmp_path: Path) -> None:
    model = bert().train()
    state = torch.get_rng_state()
    assert find_packing(model, hidden) is not None
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert model.config._attn_implementation == attention.NAME
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text(encoding="utf-8")
    assert BertModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def test_texts_stay_apart_where_sdpa_has_come_back() -> None:
    model, arguments = bert().eval(), batch()
    expected = hidden(model(**arguments)) * arguments["attention_mask"].unsqueeze(-1)
    texts = TextPacking(hidden)
    for _ in range(2):
        packing = texts.of(model, arguments)
        assert packing is not None
        torch.testing.assert_close(packing.call(model, arguments, hidden), expected, atol=1e-5, rtol=1e-5)
        # As a GPU does whose kernel fails, and what stands in for flash attention in float32.
        model.set_attn_implementation("sdpa")
