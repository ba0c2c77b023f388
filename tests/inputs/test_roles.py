"""What the texts of queries and documents get by their role."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import CheckpointError
from sightline.inputs.parse import parse
from sightline.inputs.roles import (
    EXPANSION,
    IS_QUERY,
    QueryExpansion,
    RoleProcessor,
    RoleTexts,
    _template_variables,
)
from sightline.models.encoder import Encoder

LONG = "How many employees worked in the northern plants in 2019, and what of the pumps and valves?"


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ task }}: {% for m in messages %}{{ m.content }}{% endfor %}", {"task", "messages"}),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m }}{% endfor %}",
            {"messages"},
        ),
        ("{% generation %}{{ said | tojson }}{% endgeneration %}{% set task = 1 %}{{ task }}", {"said"}),
        (None, set()),
    ],
)
def test_what_a_chat_template_takes(template: Any, names: set[str]) -> None:
    assert _template_variables(template) == names


def test_a_chat_template_that_is_none() -> None:
    with pytest.raises(CheckpointError, match="chat template cannot be read: Expected an expression"):
        _template_variables("{% if %}")


@pytest.fixture
def items(tiny_encoder: Callable[[str], Encoder]) -> Any:
    return tiny_encoder("bert").backbones()[""].processor


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_queries_are_filled_up(items: Any, side: Any, attend: bool) -> None:
    role = RoleProcessor(items, RoleTexts(expansion=QueryExpansion(12, attend=attend)), side)
    plain, found = items(parse("a pump")), role(parse("a pump"), role="query")
    count = len(plain.values["input_ids"])
    inside = slice(12 - count, 12) if side == "left" else slice(0, count)
    mask_id = items.tokenizer.mask_token_id
    ids = torch.full((12,), mask_id)
    ids[inside] = plain.values["input_ids"]
    assert torch.equal(found.values["input_ids"], ids)
    marks = torch.ones(12, dtype=torch.long)
    marks[inside] = 0
    assert torch.equal(found.values[EXPANSION], marks)
    assert torch.equal(found.values["attention_mask"], torch.ones(12).long() if attend else 1 - marks)
    assert found.values["token_type_ids"].tolist() == [0] * 12
    assert found.cost.tokens == 12
    assert found.values[IS_QUERY].tolist() == [True]


def test_documents_are_not(items: Any) -> None:
    role = RoleProcessor(items, RoleTexts(document_length=7, expansion=QueryExpansion(12)), "right")
    for given in ("document", None):
        found = role(parse("a pump"), role=given)
        assert torch.equal(found.values["input_ids"], items(parse("a pump")).values["input_ids"])
        assert not found.values[EXPANSION].any()
        assert found.values[IS_QUERY].tolist() == [False]
    assert len(role(parse(LONG), role="document").values["input_ids"]) == 7
    assert len(role(parse(LONG)).values["input_ids"]) == len(items(parse(LONG)).values["input_ids"])
    assert role.max_tokens == items.max_tokens


@pytest.mark.parametrize(
    ("strategy", "length", "expected"), [("fixed", None, 12), ("min", None, 0), ("min", 15, 15)]
)
def test_long_queries(items: Any, strategy: Any, length: int | None, expected: int) -> None:
    role = RoleProcessor(items, RoleTexts(length, None, QueryExpansion(12, strategy)), "right")
    found = role(parse(LONG), role="query")
    assert len(found.values["input_ids"]) == (expected or len(items(parse(LONG)).values["input_ids"]))
    assert not found.values[EXPANSION].any()


def test_many_at_once_as_one_by_one_and_in_another_process(items: Any) -> None:
    role = RoleProcessor(items, RoleTexts(20, 9, QueryExpansion(12, token="[SEP]")), "right")
    texts = [parse(text) for text in ("a pump", "", LONG, "x")]
    travelled = pickle.loads(pickle.dumps(role))
    for given in ("query", "document", None):
        single = [role(text, role=given, prompt="[Q] ") for text in texts]
        for some in (role, travelled):
            for one, other in zip(some.many(texts, role=given, prompt="[Q] "), single, strict=True):
                assert one.values.keys() == other.values.keys()
                assert all(torch.equal(one.values[name], other.values[name]) for name in one.values)
                assert (one.cost, one.group, one.prompt_length) == (
                    other.cost,
                    other.group,
                    other.prompt_length,
                )


TASK_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}{%- for content in message.content %}"
    "{%- if 'text' in content %}{{- content.text }}{%- endif %}{%- endfor %}{{- '<|im_end|>' }}{%- endfor %}"
    "{%- if task == 'query' %}{{- '<|endoftext|><|endoftext|>' }}{%- endif %}"
)


def test_a_chat_template_that_asks_for_the_role_gets_it(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", multi_vector=True)
    processor = encoder.backbones()[""].processor.processor
    processor.chat_template = TASK_TEMPLATE
    counts = {
        role: len(encoder.encode("hello", role=role).tokens()[0]) for role in ("query", "document", None)
    }
    assert counts["query"] == counts["document"] + 2
    assert counts["document"] == counts[None]


def test_files_that_are_not_understood() -> None:
    facts = {
        "query_length": 9,
        "query_expansion": {"strategy": "fixed", "length": 9, "attend": True, "token": None},
    }
    assert RoleTexts.from_facts(facts, "file").facts() == facts
    assert RoleTexts.from_facts({}, "file").facts() == {}
    with pytest.raises(CheckpointError, match=r"file: query_expansion .* is not understood"):
        RoleTexts.from_facts({"query_expansion": {"strategy": "fixed"}}, "file")
    with pytest.raises(CheckpointError, match="file: attend of query expansion is true or false"):
        RoleTexts.from_facts({"query_expansion": {"length": 3, "attend": "yes"}}, "file")
