"""Pairs of texts as items, and their features."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sightline.inputs.pairs import PairProcessor, parse_pair
from sightline.inputs.processor import ItemProcessor
from support.tiny_models import bert_tokenizer


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairProcessor:
    folder = tmp_path_factory.mktemp("tokenizer")
    bert_tokenizer(folder, limit=32)
    return PairProcessor(ItemProcessor(AutoTokenizer.from_pretrained(folder), {"text": "text"}))


def test_the_key_tells_sides_and_contents_apart() -> None:
    keys = {parse_pair(pair).key for pair in [("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), ("a", "b")]}
    assert len(keys) == 4


def test_features_are_what_the_tokenizer_says_of_a_pair(pairs: PairProcessor) -> None:
    query, document = "operating costs", "a table of operating costs by region"
    (features,) = pairs.many([parse_pair((query, document))])
    wanted = pairs.processor.tokenizer(query, document)
    assert {name: value.tolist() for name, value in features.values.items()} == dict(wanted)
    assert set(features.values["token_type_ids"].tolist()) == {0, 1}
    assert features.cost.tokens == len(wanted["input_ids"])
    one = pairs(parse_pair((query, document)), prompt="find ")
    assert (
        one.values["input_ids"].tolist() == pairs.processor.tokenizer("find " + query, document)["input_ids"]
    )


def test_the_longer_side_is_cut(pairs: PairProcessor) -> None:
    tokenizer = pairs.processor.tokenizer
    assert tokenizer is not None
    short = tokenizer("valves and seals", add_special_tokens=False)["input_ids"]
    for pair in (("valves and seals", "pump " * 60), ("pump " * 60, "valves and seals")):
        ids = pairs(parse_pair(pair)).values["input_ids"].tolist()
        assert len(ids) == pairs.max_tokens == 32
        assert any(ids[start : start + len(short)] == short for start in range(32))


def test_settings_of_the_checkpoint_apply(pairs: PairProcessor) -> None:
    saved = {"text": {"max_length": 12, "padding": True}, "common": {"return_tensors": "pt"}}
    cut = PairProcessor(ItemProcessor(pairs.processor.processor, {"text": "text"}, processing_kwargs=saved))
    lengths = [one.cost.tokens for one in cut.many([parse_pair(("a", "pump " * 60)), parse_pair(("a", "b"))])]
    assert lengths[0] == cut.max_tokens == 12
    assert lengths[1] < 12


def test_two_empty_texts_have_a_token_to_be_scored_at(tiny: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny("qwen3"))
    features = PairProcessor(ItemProcessor(tokenizer, {"text": "text"})).many(
        [parse_pair(("", "")), parse_pair(("a", "b"))]
    )
    assert features[0].values["input_ids"].tolist() == [tokenizer.eos_token_id]
    assert features[0].values["attention_mask"].tolist() == [1]
    assert features[0].cost.tokens == 1


def test_it_travels_to_worker_processes(pairs: PairProcessor) -> None:
    pair = parse_pair(("a", "pump"))
    there = pickle.loads(pickle.dumps(pairs))
    assert there(pair).values["input_ids"].tolist() == pairs(pair).values["input_ids"].tolist()
