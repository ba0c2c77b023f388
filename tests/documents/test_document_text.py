"""The text layer as people would type it."""

from __future__ import annotations

import pytest

from sightline.documents.text import normalise


def one(text: str) -> str:
    return normalise([text])[0]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("e\ufb03cient \ufb02ow", "efficient flow"),
        ("10² km, ½ cup, ™", "10² km, ½ cup, ™"),
        ("soft\u00adhyphen", "softhyphen"),
        ("zero\u200bwidth \ufeffmark", "zerowidth mark"),
        ("a\u00a0b\u2003c", "a b c"),
        ("bell\x07 and null\x00", "bell and null"),
        ("broken \ufffd glyph \ue123 here", "broken glyph here"),
        ("cafe\u0301", "café"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a  b\t\tc  \n\n\n\n  d", "a b c\n\nd"),
        ("half \ud800 pair in a longer text", "half pair in a longer text"),
        ("\ufee3\ufeae\ufea3\ufe92\ufe8e", "مرحبا"),
        ("", ""),
    ],
)
def test_characters(raw, clean):
    assert one(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("the govern-\nment said", "the government said"),
        ("the govern-\r\nment said", "the government said"),
        ("the govern\x02ment said", "the government said"),
        ("the govern\ufffement said", "the government said"),
        ("the govern\u00ad\nment said", "the government said"),
        ("in Baden-\nWürttemberg", "in Baden-Württemberg"),
        ("two-in\x02ten people", "two-in-ten people"),
        ("two\x02in-ten people", "two-in-ten people"),
        ("years 2010-\n2012", "years 2010-\n2012"),
        ("a dash -\nand more", "a dash -\nand more"),
    ],
)
def test_words_cut_at_the_end_of_a_line(raw, clean):
    assert one(raw) == clean


def test_the_rest_of_the_document_tells_whether_a_hyphen_belongs_to_the_word():
    cut = "a long-\nterm plan"
    assert normalise([cut, "the long-term view"])[0] == "a long-term plan"
    assert normalise([cut, "a long night, a term"])[0] == "a long-term plan"
    assert normalise([cut, "some longterm plans and the long-term view"])[0] == "a longterm plan"
    assert normalise([cut])[0] == "a longterm plan"


def test_a_layer_of_glyph_codes_counts_as_no_text():
    assert one("\x01\x02\x03\x04 \x05\x06\x04\x07\x08 \x0b\x0c\x07 ab") == ""
    assert one("\ue001\ue002\ue003 \ue004") == ""


def test_endless_text_is_cut():
    assert len(one("word " * 100_000)) <= 200_000
