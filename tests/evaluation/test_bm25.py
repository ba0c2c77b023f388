"""BM25 against a naive loop, and what its tokens are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.evaluation.bm25 import BM25, text_of, words

texts = st.lists(st.sampled_from(["red", "green", "blue", "tea", "Ünïted", "1984"]), max_size=8).map(" ".join)


def naive(documents: dict[str, str], query: str, k1: float, b: float) -> dict[str, float]:
    """The formula of the docstring, one document and one query token at a time."""
    split = {docid: words(text) for docid, text in documents.items()}
    average = max(sum(len(tokens) for tokens in split.values()) / len(split), 1.0)
    scores = {}
    for docid, tokens in split.items():
        total = 0.0
        for term in words(query):
            containing = sum(term in other for other in split.values())
            tf = tokens.count(term)
            if tf:
                idf = math.log(1 + (len(split) - containing + 0.5) / (containing + 0.5))
                total += idf * tf / (tf + k1 * (1 - b + b * len(tokens) / average))
        if total:
            scores[docid] = total
    return scores


@settings(max_examples=150, deadline=None)
@given(
    documents=st.dictionaries(st.sampled_from([f"d{i}" for i in range(12)]), texts, min_size=1),
    query=texts,
    k1=st.sampled_from([1.2, 0.9, 2.0]),
    b=st.sampled_from([0.75, 0.4, 0.0, 1.0]),
)
def test_equal_to_the_formula(documents: dict[str, str], query: str, k1: float, b: float) -> None:
    found = BM25(documents, k1=k1, b=b).search(query, 100)
    expected = naive(documents, query, k1, b)
    assert dict(found) == pytest.approx(expected, rel=1e-5)
    order = sorted(sorted(dict(found), reverse=True), key=lambda docid: -dict(found)[docid])
    assert [docid for docid, _ in found] == order


def test_ranks_rare_terms_and_short_documents_higher() -> None:
    documents = {
        "long": "revenue revenue table " + "filler " * 50,
        "short": "revenue table",
        "common": "table table table",
        "none": "nothing here",
    }
    found = [docid for docid, _ in BM25(documents).search("revenue table")]
    assert found == ["short", "long", "common"]
    assert BM25(documents).search("zebra") == []
    assert list(BM25(documents).run({"q": "revenue"}, k=1)["q"]) == ["short"]


def test_equal_documents_tie_by_id_descending() -> None:
    documents = dict.fromkeys(["p1", "p3", "p2", "p10"], "same words here")
    assert [docid for docid, _ in BM25(documents).search("here same")] == ["p3", "p2", "p10", "p1"]


def test_words_of_real_text_layers() -> None:
    assert words("The ﬁnal Straße, 12.5% — net_Income") == [
        "the",
        "final",
        "strasse",
        "12",
        "5",
        "net",
        "income",
    ]
    assert words("東京2024年") == ["東", "京", "2024", "年"]
    assert words("") == []


def test_empty_texts_are_kept_and_no_documents_are_refused() -> None:
    assert BM25({"a": "", "b": ""}).search("x") == []
    with pytest.raises(DataError, match="at least one document"):
        BM25({})


def test_text_of_corpus_values() -> None:
    assert text_of("plain") == "plain"
    assert text_of({"text": "layer", "image": b""}) == "layer"
    assert text_of({"image": b""}) == ""
    assert text_of(b"bytes") == ""
