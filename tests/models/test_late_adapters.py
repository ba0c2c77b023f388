"""Adapters on models that give a vector per token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sightline.errors import ConfigError
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense, Normalize
from support.adapted import stir, trained
from support.fixtures import TEXTS


@pytest.fixture
def late(tiny: Callable[[str], Path]) -> Encoder:
    """ColBERT's shape: token vectors through a projection."""
    backbone = Encoder.from_pretrained(tiny("bert"), device="cpu").parts[0]
    head = Dense(32, 8, activation=torch.nn.Identity(), input_name="token_embeddings")
    return Encoder([backbone, head, Normalize(input_name="token_embeddings")]).eval()  # type: ignore[list-item]


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_token_vectors_come_back(merge: bool, late: Encoder, tmp_path: Path) -> None:
    late.add_adapter(LoRA(r=2))
    assert {name for name in trained(late) if ".lora_" not in name} == {
        "parts.1.linear.weight",
        "parts.1.linear.bias",
    }
    stir(late)
    wanted = late.encode_document(TEXTS)
    assert wanted.mask is not None
    late.save_pretrained(tmp_path / "saved", merge=merge)
    found = Encoder.from_pretrained(tmp_path / "saved", device="cpu").encode_document(TEXTS)
    assert torch.equal(found.mask, wanted.mask)
    assert torch.allclose(found.values, wanted.values, atol=1e-6)


def test_composed_with_its_like_only(late: Encoder, tiny: Callable[[str], Path]) -> None:
    single = Encoder.from_pretrained(tiny("bert"), device="cpu")
    with pytest.raises(
        ConfigError, match="the routes document give a vector per token and the others one per item"
    ):
        Encoder.from_routes({"query": single, "document": late})
    both = Encoder.from_routes({"query": late, "document": late}, dim=4)
    assert both.multi_vector
    assert both.encode_query(TEXTS).values.shape[-1] == 4
