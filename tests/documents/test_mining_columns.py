"""Hard negatives for plain pairs of any modality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.documents.mining_columns import mine_columns
from sightline.documents.mining_rules import MiningRules
from sightline.errors import ConfigError, DataError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support.fixtures import MINILM, make_pictures
from support.tiny_rerankers import bert_scores

RULES = MiningRules(num_negatives=2, relative_margin=None)
ANCHORS = ["how do bees live", "what a bread loaf costs", "how do bees live", "a clock"]
POSITIVES = ["bees live in hives", "a loaf costs two euros", "the life of bees", "clocks tell the time"]
CORPUS = ["wasps live in nests", "a loaf costs two euros", "flour costs little", "watches tell the time too"]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return Encoder.from_pretrained(MINILM, device="cpu")


def test_texts(minilm: Encoder, tmp_path: Path) -> None:
    mined = mine_columns(ANCHORS, POSITIVES, minilm, corpus=CORPUS, rules=RULES, cache=tmp_path)
    assert mined.queries == ["how do bees live", "what a bread loaf costs", "a clock"]
    assert mined.documents == [*CORPUS, POSITIVES[0], POSITIVES[2], POSITIVES[3]]
    assert [one.positives for one in mined.found] == [(4, 5), (1,), (6,)]
    scores = minilm.similarity(
        minilm.encode_query(mined.queries), minilm.encode_document(mined.documents)
    ).numpy()
    for row, one in enumerate(mined.found):
        left = [number for number in np.argsort(-scores[row]) if number not in one.positives]
        assert list(one.negatives) == left[:2]
        np.testing.assert_allclose(one.positive_scores, scores[row, list(one.positives)], atol=1e-5)
    assert mined.found[2].negatives[0] == 3
    columns = mined.columns(3)
    assert list(columns) == ["anchor", "positive", "negative_1", "negative_2", "negative_3"]
    assert columns["anchor"] == [ANCHORS[0], ANCHORS[0], ANCHORS[1], ANCHORS[3]]
    assert columns["positive"] == [POSITIVES[0], POSITIVES[2], POSITIVES[1], POSITIVES[3]]
    assert columns["negative_3"] == [None] * 4
    assert list(tmp_path.glob("*.vectors"))


def test_pictures_count_by_their_content(tiny_encoder: Callable[[str], Encoder]) -> None:
    pictures = make_pictures(((30, 30), (30, 40), (30, 50), (30, 60)))
    texts = ["one", "two", "three"]
    mined = mine_columns(
        texts, pictures[:3], tiny_encoder("clip"), corpus=[pictures[0].copy(), pictures[3]], rules=RULES
    )
    assert len(mined.documents) == 4  # the copy is the first picture
    assert [one.positives for one in mined.found] == [(0,), (2,), (3,)]
    assert all(len(one.negatives) == 2 and not set(one.negatives) & set(one.positives) for one in mined.found)


def test_words_and_a_reranker(tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(bert_scores(tmp_path / "reranker"), device="cpu")
    mined = mine_columns(ANCHORS, POSITIVES, bm25=True, corpus=CORPUS, reranker=reranker, rules=RULES)
    loaf = mined.found[1]
    assert mined.documents[loaf.negatives[0]] == "flour costs little"  # the only other one about what costs
    assert loaf.scores[0] == pytest.approx(
        reranker.predict([(ANCHORS[1], "flour costs little")])[0], abs=1e-5
    )


def test_mistakes(minilm: Encoder) -> None:
    with pytest.raises(DataError, match="2 anchors and 1 positives"):
        mine_columns(["a", "b"], ["c"], minilm)
    with pytest.raises(DataError, match="no pairs"):
        mine_columns([], [], minilm)
    with pytest.raises(ConfigError, match="give a model"):
        mine_columns(["a"], ["b"])
