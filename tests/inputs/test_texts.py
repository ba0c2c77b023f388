"""Texts tokenized together have the features of texts tokenized one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder

WORDS = st.sampled_from(
    ["annual", "report", "  ", "", "Ünïcödé", "東京 🙂", "\0", "[SEP]", "long " * 90, "\n"]
)


@pytest.mark.parametrize("name", ["bert", "qwen3", "clip"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(WORDS | st.text(max_size=8), max_size=6).map(" ".join), max_size=6),
       prompt=st.sampled_from([None, "", "find: "]))  # fmt: skip
def test_together_as_one_by_one(
    name: str, tiny_encoder: Callable[[str], Encoder], texts: list[str], prompt: str | None
) -> None:
    preprocess = tiny_encoder(name).preprocessor
    items = [parse({"text": text}) for text in texts]
    together = preprocess.many(items, role="query", prompt=prompt)
    alone = [preprocess(item, role="query", prompt=prompt) for item in items]
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        assert (one.group, one.cost, one.modality, one.prompt_length) == (
            other.group, other.cost, other.modality, other.prompt_length,
        )  # fmt: skip
        assert one.values.keys() == other.values.keys()
        for key, value in one.values.items():
            assert value.dtype == other.values[key].dtype
            assert torch.equal(value, other.values[key])
