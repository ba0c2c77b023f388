"""HTML, Markdown and plain text as blocks."""

from __future__ import annotations

import pytest

from sightline.documents.structure import Block, from_html, from_markdown, from_text
from sightline.documents.written import decode
from sightline.errors import MediaError


def test_html_keeps_what_is_read_and_drops_what_is_not():
    blocks = from_html(
        "<html><head><title>Annual report</title><style>p {color: red}</style></head><body>"
        "<script>alert('no')</script><h2>Costs &amp; sales</h2>loose <b>bold</b> text<p>First<br>second"
        "<ul><li>one<ol start=3><li>deep</ol><li>two</ul><pre>a\n  b</pre><blockquote><p>said</p></blockquote>"
        "<hr><img alt='a chart'><noscript>switch it on</noscript></body></html>"
    )
    assert blocks == [
        Block("heading", "Annual report", 1),
        Block("heading", "Costs & sales", 2),
        Block("paragraph", "loose bold text"),
        Block("paragraph", "First"),
        Block("paragraph", "second"),
        Block("item", "one", 1, "•"),
        Block("item", "deep", 2, "3."),
        Block("item", "two", 1, "•"),
        Block("code", "a\n  b"),
        Block("quote", "said"),
        Block("rule"),
        Block("paragraph", "a chart"),
    ]


def test_a_title_says_nothing_new_beside_a_heading():
    assert from_html("<title>Site - Costs</title><h1>Costs</h1>") == [Block("heading", "Costs", 1)]


def test_html_tables():
    (caption, table) = from_html(
        "<table><caption>Sales</caption><tr><th>Year<th colspan=2>Plants</tr><tr><td>2020<td>Lyon"
        "<td><table><tr><td>4<td>5</table></tr><tr></tr></table>"
    )
    assert caption == Block("paragraph", "Sales")
    assert table.rows == (("Year", "Plants", ""), ("2020", "Lyon", "4 5"))
    assert table.header


@pytest.mark.parametrize(
    "torn", ["<table><tr><td>kept", "<p>kept", "<ul><li>kept", "kept<!-- never closed", "<b>kept"]
)
def test_torn_html_loses_nothing(torn):
    texts = [cell for block in from_html(torn) for cell in (block.text, *sum(block.rows, ()))]
    assert any("kept" in text for text in texts)


def test_markdown():
    blocks = from_markdown(
        "---\ntitle: x\n---\n# Pumps\n\nA *soft* line\nbroken.\n\n1. first\n2. second\n\n```\ncode  kept\n```\n\n"
        "| Year | Cost |\n|---|---|\n| 2020 | 4 |\n"
    )
    assert blocks == [
        Block("heading", "Pumps", 1),
        Block("paragraph", "A soft line broken."),
        Block("item", "first", 1, "1."),
        Block("item", "second", 1, "2."),
        Block("code", "code  kept"),
        Block("table", rows=(("Year", "Cost"), ("2020", "4")), header=True),
    ]


def test_plain_text_stays_as_it_is_and_form_feeds_part_pages():
    assert from_text("a  b\n\tc\fd") == [Block("code", "a  b\n        c"), Block("break"), Block("code", "d")]


@pytest.mark.parametrize(
    ("data", "html", "text", "note"),
    [
        ("Größe".encode(), False, "Größe", ""),
        ("Größe".encode("utf-8-sig"), False, "Größe", ""),
        ("Größe".encode("utf-16"), False, "Größe", ""),
        ("Größe".encode("cp1252"), False, "Größe", "Windows-1252"),
        ('<meta charset="koi8-r">Цена'.encode("koi8-r"), True, '<meta charset="koi8-r">Цена', ""),
        ('<meta charset="iso-8859-1">“x”'.encode("cp1252"), True, '<meta charset="iso-8859-1">“x”', ""),
        ('<meta charset="no-such">é'.encode(), True, '<meta charset="no-such">é', ""),
        (b'<meta charset="utf-8">caf\xe9', True, '<meta charset="utf-8">caf\ufffd', "not UTF-8"),
    ],
)
def test_encodings(data, html, text, note):
    found, said = decode(data, html=html)
    assert found == text
    assert (note in said) if note else said == ""


def test_binary_data_is_no_text():
    with pytest.raises(MediaError, match="binary data"):
        decode(bytes(range(256)) * 8, html=False)
