"""Questions from text alone: what a line is, which questions a page gives, and which are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.documents.adding import add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.generation import english
from sightline.documents.generation.filters import Distinct, asked_for, place_mentioned
from sightline.documents.generation.lines import is_contents_page, read_lines, split_row
from sightline.documents.generation.sentences import is_whole, split_sentences
from sightline.documents.generation.words import guess_language
from sightline.documents.ingest import ingest
from sightline.documents.offline_questions import OfflineSettings, offline_questions
from sightline.documents.records import IngestSettings, Question
from sightline.errors import ConfigError, DataError

HEADER = "Harbour Authority Annual Report 2023"
PAGES = [
    """1 Dredging of the northern fairway
The northern fairway was dredged between March and June because sediment had reduced its depth.
The contractor moved sand and clay to the disposal site at Kestrel Bank under a licence of the ministry.
Total dredging costs were $3.4 million in 2023, which is less than the budget foresaw for the year.
Figure 3: Depth of the northern fairway by month
Surveys were carried out with a multibeam echo sounder after each storm in the winter season.""",
    """2 Noise at the container terminal
About 41% of residents near the terminal say that reversing alarms disturb their sleep at night.
To report a noise complaint, call the harbour office and give the time and the berth of the ship.
Table 4. Complaints about noise by quarter
First quarter 120 31
Second quarter 96 28
Reversing alarms 61 17
Residents were invited to two public meetings about quieter straddle carriers and white noise alarms.""",
    """3 Porpoises and underwater noise
A porpoise is a small toothed whale that hears sounds far above the range of the human ear.
Hydrophones at the breakwater were installed in 2019 by the marine institute of the university.
The institute counts porpoise clicks around the clock and publishes a map of them every autumn.
Pile driving is stopped while porpoises are near because loud pulses damage their hearing.""",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two reports with running headers and footers, a contents page, and a German page."""
    from reportlab.pdfgen.canvas import Canvas

    work = tmp_path_factory.mktemp("offline")
    (work / "in").mkdir()
    contents = "\n".join(
        f"{number} {page.split(chr(10))[0][2:]} ........ {number + 1}" for number, page in enumerate(PAGES, 1)
    )
    contents += "\n4 Staff and training ........ 5\n5 Outlook for the coming year ........ 6"
    german = (
        "Die Arbeiten an der Kaimauer\nDie Kaimauer im alten Becken wurde mit Spundbohlen verstärkt, weil der Boden"
        "\nunter der Mauer nachgegeben hatte. Die Arbeiten dauerten bis in den Herbst hinein."
    )
    pages = [
        f"{HEADER}\n{text}\nPage {number} of 5" for number, text in enumerate([contents, *PAGES, german], 1)
    ]
    for name, own in (("harbour", pages), ("zcopy", pages[1:2])):
        canvas = Canvas(str(work / "in" / f"{name}.pdf"), invariant=1)
        for text in own:
            lines = canvas.beginText(40, 800)
            lines.textLines(text)
            canvas.drawText(lines)
            canvas.showPage()
        canvas.save()
    ingest(work / "in", work / "out", settings=IngestSettings(pixels=40_000, test_fraction=0.0), workers=1)
    return work / "out"


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def asked(root: Path) -> dict[str, Question]:
    return {item.query: item for item in Dataset.load(root).questions() if item.origin == "offline"}


def test_pages_give_questions_of_every_kind(root):
    report = offline_questions(root, OfflineSettings(per_page=8))
    found = asked(root)
    assert set(report.kinds) == {"heading", "caption", "table", "sentence"}
    assert sum(report.kinds.values()) == len(found) == report.added.total
    for query in (
        "How much were total dredging costs in 2023?",
        "What percentage of residents near the terminal say that reversing alarms disturb their sleep at night?",
        "How do I report a noise complaint?",
        "What is a porpoise?",
        "When were hydrophones at the breakwater installed?",
    ):
        assert query in found, sorted(found)
        assert found[query].kind == "sentence"
    assert any(
        "northern fairway by month" in query.lower() and item.kind == "caption"
        for query, item in found.items()
    )
    assert any("reversing alarms" in query.lower() and item.kind == "table" for query, item in found.items())
    for query, item in found.items():
        assert (item.origin, item.split) == ("offline", "train")
        assert (
            item.language == ("" if item.page_ids == ("harbour.pdf#p4",) else "en") or item.language == "de"
        )
        assert "harbour authority" not in query.lower()
        assert place_mentioned(query) == ""
        assert item.page_ids != ("harbour.pdf#p0",), "a table of contents answers nothing"


def test_the_same_settings_give_the_same_questions_and_replace_the_others(root):
    first = offline_questions(root)
    before = {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}
    second = offline_questions(root)
    assert (second.added.added, second.added.removed, second.added.present) == (0, 0, first.added.added)
    assert {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()} == before
    per_page = [item.page_ids for item in asked(root).values()]
    assert max(per_page.count(page) for page in per_page) <= 4
    other = offline_questions(root, OfflineSettings(per_page=1, seed=7))
    assert other.added.removed > 0
    assert sum(other.kinds.values()) == len(asked(root)) <= 5
    only = offline_questions(root, OfflineSettings(kinds=("sentence",)))
    assert set(only.kinds) == {"sentence"}


def test_what_is_left_out_stands_in_a_file_with_its_reason(root):
    report = offline_questions(root, OfflineSettings(per_page=1))
    lines = [json.loads(line) for line in report.rejected_file.read_text(encoding="utf-8").splitlines()]
    assert report.rejected_file == root / "questions" / "rejected-offline.jsonl"
    assert report.candidates == sum(report.kinds.values()) + len(lines)
    assert all(line["reason"] in report.rejected and line["detail"] and line["query"] for line in lines)
    assert "limit" in report.rejected


def test_a_persons_question_is_not_asked_again(root):
    offline_questions(root, OfflineSettings(per_page=8))
    query = "What is a porpoise?"
    known = Question("m1", f"porpoise, what is a {query[-9:-1]}", "harbour.pdf", (3,), origin="model:x")
    add_questions(root, [known])
    report = offline_questions(root, OfflineSettings(per_page=8))
    assert query not in asked(root)
    assert report.rejected["likeness"] >= 1
    assert Dataset.load(root).questions()[0].id == "m1"


def test_a_copy_of_a_page_is_no_rival_but_other_pages_are(root):
    """Page 1 of the report is the only page of another file, too."""
    offline_questions(root, OfflineSettings(per_page=8, rivals=0))
    pages = {item.page_ids for item in asked(root).values()}
    assert ("harbour.pdf#p1",) in pages
    strict = offline_questions(root, OfflineSettings(per_page=8, rivals=0, margin=0.99))
    assert strict.rejected["margin"] > 0


def test_wrong_settings(root, tmp_path):
    for wrong, message in (
        ({"per_page": 0}, "per_page"),
        ({"kinds": ("fact",)}, "kind 'fact' is not one of heading"),
        ({"margin": -0.1}, "margin"),
        ({"rivals": -1}, "rivals"),
        ({"pages": 0}, "pages"),
    ):
        with pytest.raises(ConfigError, match=message):
            OfflineSettings(**wrong)
    with pytest.raises(DataError, match="no split 'dev'"):
        offline_questions(root, OfflineSettings(splits=("dev",)))
    with pytest.raises(DataError, match="there is no such folder"):
        offline_questions(tmp_path / "none")


def test_the_command(root):
    from typer.testing import CliRunner

    from sightline.cli.main import app

    def run(*arguments: str):
        return CliRunner().invoke(app, ["questions", str(root), *arguments])

    told = json.loads(run("--offline", "--kinds", "heading,table", "--per-page", "2", "--json").stdout)
    assert told["origin"] == "offline"
    assert set(told["kinds"]) == {"heading", "table"} == {item.kind for item in asked(root).values()}
    assert told["questions"] == told["added"] == len(asked(root))
    said = run("--offline").stdout
    assert f"the dataset has {len(asked(root))} now" in said
    assert "left out: " in said
    for wrong, message in (
        ((), "give either --offline, or --base-url and --model"),
        (("--offline", "--model", "x"), "give either --offline, or --base-url and --model"),
        (("--model", "x"), "--base-url and --model belong together"),
        (("--offline", "--kinds", "fact"), "kind 'fact' is not one of"),
        (("--base-url", "ftp://x", "--model", "x"), "base_url must begin with http"),
    ):
        result = run(*wrong)
        assert result.exit_code == 1
        assert message in result.stderr


def test_roles_of_lines():
    lines = read_lines(PAGES[1].split("\n"))
    assert [line.role for line in lines] == [
        "heading",
        "prose",
        "prose",
        "caption",
        "row",
        "row",
        "row",
        "prose",
    ]
    assert lines[0].text == "Noise at the container terminal"
    assert (lines[3].label, lines[3].text, lines[3].is_table) == (
        "Table 4",
        "Complaints about noise by quarter",
        True,
    )
    assert (lines[4].text, lines[4].values) == ("First quarter", 2)
    for caption, label in (
        ("Fig. 2 | Spread of the disease", "Fig. 2"),
        ("TABLE IV Mean values of all runs", "TABLE IV"),
        ("Abbildung 12: Verlauf der Temperatur", "Abbildung 12"),
        ("図3: 気温の変化と降水量", "図 3"),
    ):
        (line,) = read_lines([caption])
        assert (line.role, line.label) == ("caption", label)
    (line,) = read_lines(["Table 2 shows that the larger model needs less memory than the smaller one does."])
    assert line.role == "prose"


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("Net cost 1,234 (56) 7.8%", ("Net cost", 3)),
        ("Germany 64 33", ("Germany", 2)),
        ("Own a tablet computer 27%", ("Own a tablet computer", 1)),
        ("1,234 5,678", ("", 0)),
        ("The survey was carried out among adults in the United States in 2014", ("", 0)),
        ("It ended in 2019.", ("", 0)),
    ],
)
def test_rows_of_tables(line, row):
    assert split_row(line) == row


def test_contents_pages():
    assert is_contents_page([f"Chapter {n} of the book ..... {n * 7}" for n in range(1, 9)])
    assert not is_contents_page(
        [f"Country {n} has {v}" for n, v in enumerate([64, 33, 71, 12, 55, 20, 48, 9])]
    )
    assert not is_contents_page(PAGES[0].split("\n"))


SENTENCES = [
    (
        "In 2014, 59% of seniors say they go online at least once a week, up from before.",
        "What percentage of seniors say they go online at least once a week?",
    ),
    ("To turn on your watch, press and hold the upper button.", "How do I turn on my watch?"),
    ("However, the bridge was opened to traffic in May 1937.", "When was the bridge opened to traffic?"),
    (
        "Total revenue reached $12.5 billion in fiscal year 2022.",
        "What did total revenue reach in fiscal year 2022?",
    ),
    ("The valve cannot be replaced because the housing is welded.", "Why can the valve not be replaced?"),
    ("A heat pump is a device that moves heat from a cold place to a warm one.", "What is a heat pump?"),
    ("The fee for a lost card is $25.", "How much is the fee for a lost card?"),
    ("About 45% of Americans say the bases are important to the U.S. military.", None),
    ("It was $25 in 2022.", None),
    ("This is a device that moves heat from a cold place.", None),
    ("They were founded in 1998.", None),
    ("To investigate this, we train two models on the same data.", None),
    ("The year was 2019.", None),
    ("We see that the model which was trained longer is better because it saw more data.", None),
]


@pytest.mark.parametrize(("sentence", "question"), SENTENCES)
def test_english_sentences_as_questions(sentence, question):
    names = {"the": "the", "total": "total", "a": "a"}
    assert english.question_from(sentence, lambda word: names.get(word.casefold(), word)) == question


def test_headings_that_ask_or_command():
    assert english.asks("Who are the independents?")
    assert not english.asks("Questions")
    assert english.how_to("How to pair your watch with a phone") == "How do I pair my watch with a phone?"
    assert english.how_to("Charge your headset") == "How do I charge my headset?"
    assert english.how_to("Open source software") is None
    assert english.is_claim("Majorities in both countries see trade as good")
    assert not english.is_claim("Views of trade in both countries by party")


def test_sentences_are_split_and_judged():
    text = "Dr. Smith of the U.S. Navy met Mr. Jones. They spoke for 3.5 hours. 「はい。」そうです。"
    assert split_sentences(text)[:2] == [
        "Dr. Smith of the U.S. Navy met Mr. Jones.",
        "They spoke for 3.5 hours.",
    ]
    assert is_whole("The contractor moved sand and clay to the disposal site at Kestrel Bank.")
    for wrong in (
        "moved sand and clay to the disposal site at the bank.",
        "The contractor moved sand and clay to the disposal",
        "Smith et al. found that the sand moved along the coast in winter.",
        "See https://example.org for the whole list of the sites and their dates.",
        "Total 12 45 67 89 10 11 12 13.",
        "Too short to say.",
    ):
        assert not is_whole(wrong), wrong


@pytest.mark.parametrize(
    "query",
    [
        "What is shown on page 3?",
        "What does this table say about costs?",
        "Which value is in Table 4?",
        "Who is named in the document?",
        "What is the total given above?",
        "Was steht auf Seite 12?",
        "What is in the following chart?",
        "Qué dice esta página?",
        "What does slide 7 say?",
    ],
)
def test_questions_that_point_at_a_place_in_the_file(query):
    assert place_mentioned(query)


@pytest.mark.parametrize(
    "query",
    [
        "How many pages does the longest report have?",
        "Which documents does a visa application need?",
        "table of complaints by quarter",
        "chart of the depth of the fairway",
        "Who wrote Chapter Street Blues?",
        "What do people think of the economy?",
    ],
)
def test_questions_that_do_not(query):
    assert place_mentioned(query) == ""


def test_languages_are_guessed_with_care():
    assert guess_language("\n".join(PAGES)) == "en"
    assert (
        guess_language("Die Kaimauer im alten Becken wurde mit Spundbohlen verstärkt, weil der Boden " * 5)
        == ""
    )
    assert guess_language("the of and") == ""
    assert guess_language("ACCIDENT 20071229X02007 AIRCRAFT CESSNA 172 ENGINE LYCOMING O-320 " * 5) == ""


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["red", "blue", "green", "grey", "7", "8", "black", "white"]), min_size=1),
        max_size=14,
    )
)
def test_likeness_by_prefixes_is_likeness_of_all_pairs(queries):
    """The index must find what comparing every pair finds."""
    index, kept = Distinct([]), []
    for words in queries:
        query = " ".join(words)
        own = frozenset(asked_for(query))
        numbers = {word for word in own if word.isdigit()}
        alike = any(
            numbers == {word for word in other if word.isdigit()}
            and len(own & other) >= 0.75 * len(own | other)
            for other in kept
        )
        assert (index.like(query) is not None) == alike
        if not alike:
            kept.append(own)


@pytest.mark.shared
def test_real_reports_give_questions_without_furniture(shared, tmp_path):
    """Two real reports: several questions a page, one per seed and wording, none with a running header in it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("DOT2022.pdf", "GSA2022.pdf"):
        shutil.copy(shared / "govdocs" / "documents" / name, folder / name)
    ingest(folder, tmp_path / "out", settings=IngestSettings(pixels=20_000))
    report = offline_questions(tmp_path / "out", OfflineSettings(splits=("train", "test")))
    assert sum(report.kinds.values()) > report.pages
    queries = [item.query for item in Dataset.load(tmp_path / "out").questions()]
    assert len(set(queries)) == len(queries)
    assert max(map(len, queries)) <= 300
