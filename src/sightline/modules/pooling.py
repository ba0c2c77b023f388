"""From token embeddings to one vector: every pooling mode of Sentence Transformers.

Shape letters: N items, T positions, D dimension.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sightline.errors import CheckpointError
from sightline.modules.base import Module

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


class Pooling(Module):
    """Pools ``token_embeddings`` (N, T, D) under ``attention_mask`` (N, T) into ``sentence_embedding``.

    Padding may stand on either side, or on a different side in each row.

    Args:
        dim: D.
        modes: one mode or several, whose results are concatenated: ``cls`` (first real token), ``max``,
            ``mean``, ``mean_sqrt_len_tokens`` (sum over the root of the length), ``weightedmean``
            (positions weigh 1, 2, 3, ...; SGPT, Muennighoff 2022), ``lasttoken`` (last real token).
        include_prompt: whether the prompt's tokens (``prompt_length`` (N,) of them) take part.

    Raises:
        CheckpointError: an unknown mode.
    """

    kind: ClassVar[str] = "pooling"

    def __init__(
        self, dim: int, modes: str | tuple[str, ...] = "mean", *, include_prompt: bool = True
    ) -> None:
        super().__init__()
        self.dim = dim
        self.modes = (modes,) if isinstance(modes, str) else tuple(modes)
        self.include_prompt = include_prompt
        for mode in self.modes:
            if mode not in MODES:
                raise CheckpointError(f"unknown pooling mode {mode!r}; the modes are {', '.join(MODES)}")

    @property
    def output_dim(self) -> int:
        return self.dim * len(self.modes)

    def facts(self) -> dict[str, Any]:
        return {
            "embedding_dimension": self.dim,
            "pooling_mode": self.modes[0] if len(self.modes) == 1 else list(self.modes),
            "include_prompt": self.include_prompt,
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        tokens_NTD: Tensor = features["token_embeddings"]
        mask_NT = features.get("attention_mask")
        if mask_NT is None or mask_NT.shape[-1] != tokens_NTD.shape[1]:
            # Vision towers report no mask, or one over patches rather than over their output positions.
            mask_NT = torch.ones(tokens_NTD.shape[:2], dtype=torch.long, device=tokens_NTD.device)
        full_NT = mask_NT
        prompt_N = features.get("prompt_length")
        if not self.include_prompt and prompt_N is not None:
            mask_NT = _without_prompt(mask_NT, prompt_N)
        pooled = [_pool(mode, tokens_NTD, mask_NT, full_NT) for mode in self.modes]
        features["sentence_embedding"] = torch.cat(pooled, dim=-1)
        return features


def _without_prompt(mask_NT: Tensor, prompt_N: Tensor) -> Tensor:
    first_N1 = mask_NT.int().argmax(dim=1, keepdim=True)
    position_T = torch.arange(mask_NT.shape[1], device=mask_NT.device)
    # A new mask: the caller's one is needed unchanged when the micro-batch is embedded again.
    return mask_NT * (position_T >= first_N1 + prompt_N.to(mask_NT.device).view(-1, 1)).to(mask_NT.dtype)


def _pool(mode: str, tokens_NTD: Tensor, mask_NT: Tensor, full_NT: Tensor) -> Tensor:
    # Half-precision sums over hundreds of positions lose digits; sum in float32 and return the input type.
    dtype = tokens_NTD.dtype
    wide = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    if mode == "cls":
        return _at(tokens_NTD, mask_NT.int().argmax(dim=1))
    if mode == "lasttoken":
        last_N = mask_NT.shape[1] - 1 - mask_NT.flip(1).int().argmax(dim=1)
        # A row whose every token belongs to the prompt gives zeros, not a padding's vector.
        return _at(tokens_NTD, last_N) * _at(mask_NT, last_N).unsqueeze(-1).to(dtype)
    if mode == "max":
        highest_ND = tokens_NTD.masked_fill(mask_NT.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)
        return highest_ND.masked_fill(mask_NT.sum(dim=1, keepdim=True) == 0, 0.0)
    weights_NT = mask_NT.to(wide)
    if mode == "weightedmean":
        first_N1 = full_NT.int().argmax(dim=1, keepdim=True)
        position_T = torch.arange(1, mask_NT.shape[1] + 1, device=mask_NT.device)
        weights_NT = weights_NT * (position_T - first_N1).to(wide)
    total_ND = (tokens_NTD * weights_NT.unsqueeze(-1)).sum(dim=1, dtype=wide)
    length_N1 = weights_NT.sum(dim=1, keepdim=True).clamp_min(1e-9)
    if mode == "mean_sqrt_len_tokens":
        length_N1 = length_N1.sqrt()
    return (total_ND / length_N1).to(dtype)


def _at(values_NT: Tensor, position_N: Tensor) -> Tensor:
    return values_NT[torch.arange(values_NT.shape[0], device=values_NT.device), position_N]
