"""Every pooling mode against a naive loop and against Sentence Transformers.

Shape letters: N items, T positions, D dimension.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling
from torch import Tensor

from sightline.errors import CheckpointError
from sightline.modules.pooling import MODES, Pooling

D = 6


def ragged(lengths: list[int], side: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random token vectors (N, T, D) and the mask (N, T) of rows with these lengths; ``mixed`` alternates sides."""
    longest = max(lengths) + 2
    mask_NT = torch.zeros(len(lengths), longest, dtype=torch.long)
    for row, length in enumerate(lengths):
        left = side == "left" or (side == "mixed" and row % 2)
        start = longest - length if left else 0
        mask_NT[row, start : start + length] = 1
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), longest, D, generator=generator, dtype=torch.float64), mask_NT


def naive(mode: str, tokens: list[Tensor], prompt: int) -> Tensor:
    """One item, from its real tokens in order."""
    kept = list(range(prompt, len(tokens)))
    if not kept:
        return torch.zeros(D, dtype=torch.float64)
    if mode == "cls":
        return tokens[kept[0]]
    if mode == "lasttoken":
        return tokens[kept[-1]]
    if mode == "max":
        return torch.stack([max((tokens[i][d] for i in kept), key=float) for d in range(D)])
    # Weights count from the first token, the prompt's included.
    weights = {i: i + 1 if mode == "weightedmean" else 1 for i in kept}
    total = sum((tokens[i] * weights[i] for i in kept), torch.zeros(D, dtype=torch.float64))
    return total / (math.sqrt(len(kept)) if mode == "mean_sqrt_len_tokens" else sum(weights.values()))


def pooled(pooling: Pooling, tokens_NTD: Tensor, mask_NT: Tensor, prompt: int | None = None) -> Tensor:
    features = {"token_embeddings": tokens_NTD, "attention_mask": mask_NT}
    if prompt is not None:
        features["prompt_length"] = torch.full((len(mask_NT),), prompt)
    return pooling(features)["sentence_embedding"]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    side=st.sampled_from(["left", "right", "mixed"]),
    prompt=st.integers(0, 4),
)
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_the_naive_loop(mode: str, lengths: list[int], side: str, prompt: int) -> None:
    tokens_NTD, mask_NT = ragged(lengths, side)
    rows = [list(row[mask.bool()]) for row, mask in zip(tokens_NTD, mask_NT, strict=True)]
    before = mask_NT.clone()
    whole = pooled(Pooling(D, mode), tokens_NTD, mask_NT, prompt)
    assert torch.allclose(whole, torch.stack([naive(mode, row, 0) for row in rows]))
    without = pooled(Pooling(D, mode, include_prompt=False), tokens_NTD, mask_NT, prompt)
    wanted = [naive(mode, row, prompt) for row in rows]
    if mode == "cls":  # as in ST: a row without a token beside its prompt gives the position in front
        keep = [n for n, row in enumerate(rows) if len(row) > prompt]
        without, wanted = without[keep], [wanted[n] for n in keep]
    if wanted:
        assert torch.allclose(without, torch.stack(wanted))
    assert torch.equal(mask_NT, before)  # it is needed again when a micro-batch is embedded a second time


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("prompt", [0, 3])
def test_the_same_as_sentence_transformers(side: str, prompt: int, dtype: torch.dtype) -> None:
    tokens_NTD, mask_NT = ragged([5, 9, 4, 7], side, seed=1)
    tokens_NTD = tokens_NTD.to(dtype)
    for modes in (*((mode,) for mode in MODES), ("mean", "cls", "max"), MODES):
        for include in (True, False):
            theirs = TheirPooling(D, modes, include_prompt=include)
            wanted = theirs(
                {"token_embeddings": tokens_NTD, "attention_mask": mask_NT.clone(), "prompt_length": prompt}
            )["sentence_embedding"]
            found = pooled(Pooling(D, modes, include_prompt=include), tokens_NTD, mask_NT, prompt)
            assert found.dtype == wanted.dtype
            assert found.shape == wanted.shape == (4, D * len(modes))
            assert torch.allclose(found, wanted, atol=1e-6 if dtype == torch.float32 else 2e-2)


def test_a_prompt_is_left_out_per_row() -> None:
    tokens_NTD, mask_NT = ragged([6, 6], "right")
    features = {
        "token_embeddings": tokens_NTD, "attention_mask": mask_NT, "prompt_length": torch.tensor([0, 4])
    }  # fmt: skip
    found = Pooling(D, "mean", include_prompt=False)(features)["sentence_embedding"]
    assert torch.allclose(found[0], tokens_NTD[0, :6].mean(0))
    assert torch.allclose(found[1], tokens_NTD[1, 4:6].mean(0))


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "cls"])
def test_a_row_that_is_all_prompt_gives_zeros(mode: str) -> None:
    tokens_NTD, mask_NT = ragged([3, 5], "right")
    found = pooled(Pooling(D, mode, include_prompt=False), tokens_NTD, mask_NT, 3)
    assert found[0].tolist() == [0.0] * D
    assert torch.isfinite(found).all()


def test_towers_without_a_mask_pool_all_positions() -> None:
    tokens_NTD, _ = ragged([4, 4], "right")
    assert torch.allclose(
        Pooling(D, "mean")({"token_embeddings": tokens_NTD})["sentence_embedding"], tokens_NTD.mean(1)
    )
    over_patches = torch.ones(
        2, 99, dtype=torch.long
    )  # a mask of another length says nothing about positions
    assert torch.allclose(pooled(Pooling(D, "mean"), tokens_NTD, over_patches), tokens_NTD.mean(1))


def test_half_precision_sums_do_not_lose_digits() -> None:
    tokens_NTD = torch.full((1, 4_000, 1), 1.0, dtype=torch.bfloat16)
    assert pooled(Pooling(1, "mean"), tokens_NTD, torch.ones(1, 4_000, dtype=torch.long)).item() == 1.0


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown pooling mode 'median'; the modes are cls, max, mean"):
        Pooling(D, "median")
