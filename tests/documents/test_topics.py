"""What English sentences are about."""

from __future__ import annotations

import pytest

from sightline.documents.generation.phrases import Casing, Terms, clean_phrase, key_phrases
from sightline.documents.generation.topics import topics

TERMS = Terms(["the harbour and the bank", "the harbour", "the"])


@pytest.mark.parametrize(
    ("sentence", "phrases"),
    [
        (
            "the contractor moved sand and clay to the disposal site at Kestrel Bank, under a licence.",
            ["sand and clay", "disposal site at Kestrel Bank"],
        ),
        ("teams will report progress on water quality to the board.", ["progress on water quality"]),
        ("the agency launched the certification programme in 2021.", ["certification programme"]),
        ("staff clean the charging cradle with a dry cloth.", ["charging cradle with a dry cloth"]),
        ("it costs 12 dollars per day.", ["dollars per day"]),
        ("they were there.", []),
    ],
)
def test_noun_phrases_with_what_hangs_on_them(sentence, phrases):
    assert [phrase for phrase, _ in topics(sentence, TERMS)] == phrases


def test_rare_words_weigh_more():
    ((_, common),) = topics("it is the harbour bank.", TERMS)
    ((_, rare),) = topics("it is the porpoise survey.", TERMS)
    assert rare > common > 0


def test_key_phrases_of_other_languages():
    found = key_phrases(
        "Die Kaimauer wurde 1998 mit Spundbohlen verstärkt, und der Boden gab nach.", "de", TERMS
    )
    assert found == ["Kaimauer wurde 1998", "Spundbohlen verstärkt", "Boden gab"]


def test_headings_lose_their_capitals_and_names_keep_them():
    body = "The board met at Kestrel Bank in May. Later the views of the board on NASA grants were heard."
    casing = Casing([body + "\nThe Annual Plan of the Board"])
    assert casing.inside("Views of the Board on NASA Grants") == "views of the board on NASA grants"
    assert casing.inside("KESTREL BANK VIEWS") == "Kestrel Bank views"
    assert (casing.first("Views"), casing.first("Dredging"), casing.first("iPhones")) == (
        "views",
        "dredging",
        "iPhones",
    )
    assert clean_phrase(" Results of 2023* ") == "Results of 2023"
    assert clean_phrase("Net cost (continued)") == "Net cost"
