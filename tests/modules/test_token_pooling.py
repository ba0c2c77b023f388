"""Token pooling against Sentence Transformers' HierarchicalTokenPooling, and its gradient."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import ConfigError
from sightline.modules.token_pooling import TokenPooling
from sightline.types import Embeddings


def documents(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [
        normalize(torch.randn(count, 12, generator=generator), dim=-1).to(dtype)
        for count in (17, 40, 1, 2, 5, 3)
    ]


@pytest.mark.parametrize("factor", [1.0, 1.5, 2, 3, 40])
@pytest.mark.parametrize(("protected", "unit"), [(1, True), (0, True), (2, False)])
def test_equal_to_st(factor: float, protected: int, unit: bool) -> None:
    ours = TokenPooling(factor, protected=protected, normalize=unit)
    theirs = HierarchicalTokenPooling(factor, num_protected_tokens=protected, normalize_embeddings=unit)
    found = ours.pool(Embeddings.ragged(documents())).tokens()
    for one, other in zip(found, theirs.pool(documents()), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_fewer_tokens_and_the_same_as_a_part() -> None:
    given = Embeddings.ragged(documents())
    pooling = TokenPooling(3)
    pooled = pooling.pool(given)
    assert [len(one) for one in pooled.tokens()] == [6, 14, 1, 2, 2, 2]
    features = {
        "token_embeddings": given.values,
        "attention_mask": given.mask,
        "is_query": torch.tensor([False, True, False, False, False, False]),
    }
    out = pooling(dict(features))
    part = Embeddings(out["token_embeddings"], out["attention_mask"])
    assert [len(one) for one in part.tokens()] == [6, 40, 1, 2, 2, 2]
    torch.testing.assert_close(part.tokens()[0], pooled.tokens()[0])
    assert pooling.pool(given, role="query") is given


def test_the_gradient_goes_through_the_means() -> None:
    values = documents(torch.float64)[1]

    def total(tokens: Tensor) -> Tensor:
        return TokenPooling(4).pool(Embeddings.ragged([tokens])).values.square().sum(0)[:, :3].sum(0)

    assert torch.autograd.gradcheck(total, values.requires_grad_())


def test_what_cannot_be_pooled() -> None:
    with pytest.raises(ConfigError, match="factor of 1 or more"):
        TokenPooling(0.5)
    with pytest.raises(ConfigError, match="one vector per item"):
        TokenPooling(2).pool(Embeddings(torch.randn(3, 4)))
