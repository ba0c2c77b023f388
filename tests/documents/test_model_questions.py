"""Questions by a model: what is asked, what is kept, and what happens when the model or the machine fails."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.documents.adding import add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.generation.endpoint import EndpointSettings
from sightline.documents.generation.prompts import MalformedError, read_check, read_questions
from sightline.documents.model_questions import ModelSettings, model_questions
from sightline.documents.records import Question
from sightline.errors import ConfigError, DataError, EndpointError
from support.chat_server import Behaviour, ChatServer, Reply, Seen, closed_port, completion
from support.made_pages import contents, image_texts, page_of_words, word_dataset

KEY = "sk-very-secret-0123456789"
ALL = ("train", "test")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return word_dataset(tmp_path_factory.mktemp("words"))


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A dataset of eight pages in three documents, without questions."""
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def texts(root: Path) -> dict[str, str]:
    return image_texts(root)


def endpoint(server: ChatServer | str, **changes) -> EndpointSettings:
    url = server if isinstance(server, str) else server.url
    return EndpointSettings(
        url, "org/tiny-vl", **{"timeout": 10.0, "backoff": 0.001, "attempts": 3, **changes}
    )


def run(root: Path, server: ChatServer, **changes):
    return model_questions(
        root, endpoint(server), ModelSettings(**{"splits": ALL, **changes}), progress=False
    )


def rejected(report) -> list[dict]:
    return [json.loads(line) for line in report.rejected_file.read_text().splitlines()]


def test_every_kind_is_asked_and_enters_the_dataset(root, texts):
    with ChatServer(texts) as server:
        report = run(root, server, price_in=2.0, price_out=8.0)
    dataset = Dataset.load(root)
    groups = [seen for seen in server.seen if len(seen.images) > 1]
    assert len(server.seen) - len(groups) == 8
    assert all(len(seen.images) in (2, 3) for seen in groups)
    assert report.kinds == {"chart": 8, "fact": 8, "lookup": 8, "multi-page": len(groups), "topic": 8}
    assert report.facts["tokens_in"] == 1000 * len(server.seen)
    assert report.facts["cost"] == pytest.approx(len(server.seen) * (1000 * 2 + 50 * 8) / 1e6)
    assert report.added.added == len(dataset.questions()) == 32 + len(groups)
    sides = {item.document: item.split for item in dataset.documents}
    for question in dataset.questions():
        assert (question.origin, question.language) == ("model:org/tiny-vl", "en")
        assert question.split == sides[question.document]
        assert question.extra["model_answer"]
        assert (len(question.pages) > 1) == (question.kind == "multi-page")
        assert list(question.pages) == list(range(question.pages[0], question.pages[-1] + 1))
    with ChatServer(texts) as server:
        again = run(root, server)
    assert server.seen == []
    assert (again.added.added, again.added.present) == (0, report.added.added)
    assert again.facts["reused"] == report.facts["requests"]


def test_the_prompt_says_what_is_wanted(root, texts):
    with ChatServer(texts) as server:
        run(root, server, kinds=("fact", "topic"), languages=("de", "en"), per_kind=2, pages=1)
    (seen,) = server.seen
    assert "at most 2 questions of each of these kinds in each of German (de), English (en):" in seen.said
    assert "- fact:" in seen.said
    assert "- chart:" not in seen.said
    item = seen.body["response_format"]["json_schema"]["schema"]["properties"]["questions"]["items"]
    assert item["properties"]["kind"]["enum"] == ["fact", "topic"]
    assert item["properties"]["language"]["enum"] == ["de", "en"]


def test_filters_tell_what_they_took_out_and_why(root, texts):
    own = {text: text.split() for text in texts.values()}
    every = [words[0] for words in own.values()]

    def writes(seen: Seen) -> Reply:
        words = own[texts[seen.images[0]]]
        questions = [
            ("fact", f"Who made the {words[1]} {words[2]} {words[3]}?"),
            ("fact", f"Who made the {words[3]} {words[2]} {words[1]}"),  # the same in another order
            ("fact", f"What is {words[4]} {words[5]} on page 3 of this document?"),
            ("fact", "x" * 400),
            ("fact", "What is it?"),
            ("fact", f"What is common to {' '.join(every)}?"),  # every page answers it
        ]
        return Reply(
            completion(
                {
                    "questions": [
                        {"kind": kind, "language": "en", "question": question, "answer": "a"}
                        for kind, question in questions
                    ]
                }
            )
        )

    with ChatServer(texts, writes) as server:
        report = run(root, server, kinds=("fact",), per_kind=9, rivals=3)
    assert report.kinds == {"fact": 8}
    lines = rejected(report)
    reasons = {reason: [line for line in lines if line["reason"] == reason] for reason in report.rejected}
    assert {reason: len(found) for reason, found in reasons.items()} == {
        "empty": 8,
        "likeness": 8 + 7,
        "margin": 1,
        "place": 8,
        "too long": 8,
    }
    assert "on page 3" in reasons["place"][0]["detail"]
    assert reasons["likeness"][0]["detail"].startswith("like 'Who made the")
    assert report.rejected == {reason: len(found) for reason, found in reasons.items()}


class PageReader:
    """An encoder that sees the words of a page in its image: a vector has a place for each word."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.places = {
            word: place for place, word in enumerate(sorted(set(" ".join(texts.values()).split())))
        }

    def vectors(self, values: list[str]):
        import torch

        from sightline.types import Embeddings

        values_ND = torch.zeros(len(values), len(self.places))
        for row, value in enumerate(values):
            for word in value.split():
                if word.strip("?") in self.places:
                    values_ND[row, self.places[word.strip("?")]] += 1.0
        return Embeddings(values_ND)

    def encode_query(self, queries: list[str], **_):
        return self.vectors(queries)

    def encode_document(self, pages: list[Path], **_):
        return self.vectors([self.texts[hashlib.sha256(path.read_bytes()).hexdigest()] for path in pages])

    def similarity(self, first, second):
        from sightline.models.similarity import similarity

        return similarity("cosine", first, second)


def test_an_encoder_judges_the_margin(root, texts):
    shared = " ".join(text.split()[0] for text in texts.values())

    def writes(seen: Seen) -> Reply | None:
        if texts[seen.images[0]] != sorted(texts.values())[0]:
            return None
        item = {"kind": "fact", "language": "en", "question": f"What of {shared}?", "answer": ""}
        return Reply(completion({"questions": [item]}))

    with ChatServer(texts, writes) as server:
        report = model_questions(
            root,
            endpoint(server),
            ModelSettings(splits=ALL, kinds=("fact",), rivals=2),
            encoder=PageReader(texts),  # type: ignore[arg-type]
            progress=False,
        )
    assert (report.kinds, report.rejected) == ({"fact": 7}, {"margin": 1})
    assert rejected(report)[0]["query"] == f"What of {shared}?"


def test_the_check_asks_with_all_pages_and_drops_what_they_do_not_answer(root, texts):
    def strict(seen: Seen) -> Reply | None:
        if not seen.is_check:
            return None
        if seen.said.startswith("Question: How high"):
            return Reply(completion({"answerable": False, "answer": ""}))
        return Reply(completion("no JSON at all")) if "Which rose" in seen.said else None

    with ChatServer(texts, strict) as server:
        report = run(root, server, check=True)
    assert report.rejected == {"unanswerable": 8, "unchecked": 8}
    assert sorted(report.kinds) == ["fact", "multi-page", "topic"]
    groups = [seen for seen in server.seen if seen.is_check and len(seen.images) > 1]
    assert len(groups) == report.kinds["multi-page"]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("sorry, no", "still no", "malformed"),
        (
            {"questions": [{"kind": "poem", "language": "en", "question": "q", "answer": "a"}]},
            "[]",
            "malformed",
        ),
        (
            {"questions": [{"kind": "fact", "language": "en", "question": " ", "answer": "a"}]},
            {},
            "malformed",
        ),
    ],
)
def test_what_cannot_be_used_is_asked_for_once_more(root, texts, first, second, reason):
    for last in (None, second):

        def writes(seen: Seen, last=last) -> Reply | None:
            if len(seen.body["messages"]) == 2:
                return Reply(completion(first))
            return Reply(completion(last)) if last is not None else None

        data = shutil.copytree(root, root.with_name(f"copy-{last is None}"))
        with ChatServer(texts, writes) as server:
            report = run(data, server, kinds=("fact",), pages=2)
        assert len(server.seen) == 4
        repair = server.seen[1].body["messages"]
        assert [message["role"] for message in repair] == ["system", "user", "assistant", "user"]
        assert "This cannot be used" in repair[-1]["content"]
        if last is None:
            assert report.kinds == {"fact": 2}
        else:
            assert (report.kinds, report.rejected) == ({}, {reason: 2})


def test_an_answer_cut_off_gets_twice_the_room(root, texts):
    def cut(seen: Seen) -> Reply | None:
        short = seen.body["max_tokens"] == 2000
        return Reply(completion('{"questions": [{"kind"', finish="length")) if short else None

    with ChatServer(texts, cut) as server:
        assert run(root, server, kinds=("fact",), pages=1).kinds == {"fact": 1}
    assert [seen.body["max_tokens"] for seen in server.seen] == [2000, 4000]
    always = lambda seen: Reply(completion("{", finish="length"))  # noqa: E731
    with ChatServer(texts, always) as server:
        assert run(root, server, kinds=("topic",), pages=1).rejected == {"cut off": 1}


def test_refusals_are_kept_and_not_asked_again(root, texts):
    refuse: Behaviour = lambda seen: Reply(completion(None, refusal="I would rather not"))  # noqa: E731
    with ChatServer(texts, refuse) as server:
        report = run(root, server, kinds=("fact",))
        assert (report.kinds, report.rejected) == ({}, {"refused": 8})
        assert rejected(report)[0]["detail"] == "I would rather not"
        run(root, server, kinds=("fact",))
    assert len(server.seen) == 8


def test_requests_run_side_by_side_but_the_first_runs_alone(root, texts):
    slow: Behaviour = lambda seen: Reply(completion(server.good(seen)), delay=0.1)  # noqa: E731
    with ChatServer(texts, slow) as server:
        model_questions(root, endpoint(server, concurrency=4), ModelSettings(splits=ALL), progress=False)
    assert server.most_under_way == 4
    assert server.seen[1].at - server.seen[0].at >= 0.1


def test_a_page_that_always_fails_stops_the_end_but_not_the_others(root, texts):
    poison = sorted(texts)[0]
    behave: Behaviour = lambda seen: Reply({}, 500) if poison in seen.images else None  # noqa: E731
    before = contents(root)
    with ChatServer(texts, behave) as server:
        with pytest.raises(EndpointError, match=r"of 8 requests were given up .*--skip-failed"):
            run(root, server, kinds=("fact",))
        assert {name: data for name, data in contents(root).items() if "/answers" not in name} == before
        asked = len(server.seen)
        report = run(root, server, kinds=("fact",), skip_failed=True)
        assert len(server.seen) == asked + 3, "only the failed request is asked again"
    assert report.kinds == {"fact": 7}
    assert report.notes == ("1 requests were given up; run it again to try them",)


def test_a_dead_or_closed_endpoint_leaves_the_dataset_as_it_was(root, texts):
    before = Dataset.load(root).all_questions
    with pytest.raises(EndpointError, match="cannot be reached"):
        model_questions(root, endpoint(f"http://127.0.0.1:{closed_port()}"), progress=False)
    refused: Behaviour = lambda seen: Reply({"error": {"message": f"bad key {KEY}"}}, 401)  # noqa: E731
    with ChatServer(texts, refused) as server, pytest.raises(EndpointError, match="refuses the key"):
        run(root, server)
    assert len(server.seen) == 1
    dying: Behaviour = lambda seen: Reply({}, 503) if seen.number >= 3 else None  # noqa: E731
    with ChatServer(texts, dying) as server, pytest.raises(EndpointError, match="HTTP 503"):
        run(root, server)
    assert len(server.seen) < 3 + 8 * 3 * 2
    assert Dataset.load(root).all_questions == before
    with ChatServer(texts) as server:
        report = run(root, server)
    assert report.facts["reused"] == 3


def test_peoples_questions_keep_their_split_and_are_not_asked_again(root, texts):
    held = next(item.document for item in Dataset.load(root).documents if item.split == "test")
    with ChatServer(texts) as server:
        first = run(root, server, kinds=("topic",))
        same = Dataset.load(root).questions()[0]
    person = Question("p", "Which one?", held, (0,), origin="model:other")
    add_questions(root, [person], replace_origin=first.origin)
    assert len(Dataset.load(root).questions()) == 1
    # As if a person had asked them: one about a test document, one in the words of a page.
    from sightline.documents import store

    people = [
        Question("a", "Which one?", held, (0,), "test"),
        Question("b", same.query, same.document, same.pages, same.split),
    ]
    store.write_questions(root, people)
    with ChatServer(texts) as server:
        report = run(root, server, kinds=("topic",), splits=None)
    assert report.rejected == {"likeness": 1} or same.split == "test"
    assert {item.split for item in Dataset.load(root).questions() if item.origin != "person"} == {"train"}
    assert "'test' has people's questions" in report.notes[0]


def test_replacing_what_a_model_asked_before(root, texts):
    with ChatServer(texts) as server:
        run(root, server, kinds=("fact", "topic"))
        report = run(root, server, kinds=("topic",), replace=True)
    assert report.added.removed > 0
    assert {item.kind for item in Dataset.load(root).questions()} == {"topic"}


def test_wrong_settings_and_places(root, tmp_path):
    for wrong, message in (
        ({"kinds": ("poem",)}, "kind 'poem' is not one of"),
        ({"kinds": ()}, "no kind"),
        ({"languages": ("german",)}, "no two-letter code"),
        ({"per_kind": 0}, "per_kind"),
        ({"margin": 1.0}, "margin"),
    ):
        with pytest.raises(ConfigError, match=message):
            ModelSettings(**wrong)
    with pytest.raises(DataError, match="there is no such folder"):
        model_questions(tmp_path / "none", endpoint("http://127.0.0.1:1"))
    with pytest.raises(DataError, match="no split 'dev'"):
        model_questions(root, endpoint("http://127.0.0.1:1"), ModelSettings(splits=("dev",)))


def test_answers_are_read_strictly_but_not_pedantically():
    one = {"kind": "Fact", "language": "en-US", "question": " Why \n so? ", "answer": ""}
    text = (
        f"<think>{{}}</think> Here you are:\n```json\n{json.dumps({'questions': [one, one, one]})}\n``` Bye."
    )
    (found, _) = read_questions(text, ["fact"], ["en"], 2)
    assert (found.kind, found.language, found.question, found.answer) == ("fact", "en", "Why so?", "")
    for wrong, message in (
        ("", "no JSON object"),
        ("{]", "not JSON"),
        ("{" * 100_000, "JSON"),
        ('{"questions": {}}', 'no list "questions"'),
        ('{"questions": [1]}', r"questions\[0\] is not an object"),
        (json.dumps({"questions": [{**one, "question": 7}]}), 'no text "question"'),
        (json.dumps({"questions": [{**one, "language": "fr"}]}), 'language is "fr", not one of en'),
    ):
        with pytest.raises(MalformedError, match=message):
            read_questions(wrong, ["fact"], ["en"], 1)
    assert read_check('{"answerable": true, "answer": "7"}') == (True, "7")
    with pytest.raises(MalformedError, match="not true or false"):
        read_check('{"answerable": "yes", "answer": "7"}')


def test_in_a_notebook_and_with_a_bar(root, texts, capsys, monkeypatch):
    """Where an event loop runs already, and where progress is to be seen."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")

    async def cell(server: ChatServer):
        one = ModelSettings(splits=ALL, kinds=("fact",), price_in=1.0)
        return model_questions(root, endpoint(server), one, progress=True)

    with ChatServer(texts) as server:
        assert asyncio.run(cell(server)).kinds == {"fact": 8}
    refused = Reply({"error": "no"}, 401)
    with (
        ChatServer(texts, lambda seen: refused) as server,
        pytest.raises(EndpointError, match="refuses the key"),
    ):
        asyncio.run(model_questions_again(root, server))
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "Asking for questions" in said
    assert "8 requests, 8,000 tokens in, 400 out, cost 0.0080" in said


async def model_questions_again(root: Path, server: ChatServer):
    return run(root, server, kinds=("topic",))


def small_files() -> None:
    """For ``preexec_fn``: no file may grow beyond some bytes, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


def test_a_full_disk_stops_with_a_message_and_loses_nothing(root, texts):
    before = Dataset.load(root).all_questions
    with ChatServer(texts) as server:
        process = command(root, server, preexec_fn=small_files)
        said = process.communicate()[1]
        assert process.returncode == 1
        assert "data: cannot be written (File too large)" in said
        assert "Traceback" not in said
        assert Dataset.load(root).all_questions == before
        asked = len(server.seen)
        report = run(root, server, check=True)
    assert 0 < report.facts["reused"] <= asked
    assert report.facts["requests"] == len(server.seen) - asked


def command(
    root: Path, server: ChatServer, *options: str, preexec_fn: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    arguments = ["questions", str(root), "--base-url", server.url, "--model", "org/tiny-vl", "--check"]
    arguments += ["--split", "train", "--split", "test", "--concurrency", "3", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "sightline.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=preexec_fn,
    )


def test_killed_five_times_and_byte_identical_to_a_run_that_was_not(root, texts, tmp_path):
    whole = Path(shutil.copytree(root, tmp_path / "whole"))
    random_delays = random.Random(5)

    # Requests from this number on are held, so that a process that is to be killed cannot end before.
    held_from, go = math.inf, threading.Event()

    def unhurried(seen: Seen) -> Reply:
        if seen.number >= held_from:
            go.wait(60)
        return Reply(completion(server.good(seen)), delay=0.03)

    with ChatServer(texts, unhurried) as server:
        process = command(whole, server)
        assert process.communicate()[1].startswith("Page images are sent to http://127.0.0.1")
        assert process.returncode == 0
        asked = len(server.seen)
    assert 5 * asked // 7 + 3 < asked, "the fifth is killed before the last request"
    with ChatServer(texts, unhurried) as server:
        for kill in range(1, 6):
            go.clear()
            held_from = kill * asked // 7 + 3
            process = command(root, server)
            while len(server.seen) < held_from - 3 and process.poll() is None:
                time.sleep(0.005)
            time.sleep(random_delays.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            go.set()
            assert process.returncode == -signal.SIGKILL
            assert Dataset.load(root).all_questions == ()
        held_from = math.inf
        before = len(server.seen)
        process = command(root, server, "--json")
        told = json.loads(process.communicate()[0])
        assert process.returncode == 0
        # What a killed process had asked but not yet read is lost with it: at most what was under way.
        assert asked <= len(server.seen) <= asked + 5 * 3
        assert told["requests"] == len(server.seen) - before
        assert told["requests"] + told["reused"] == asked
    assert contents(root) == contents(whole)


def test_the_key_is_nowhere(root, texts):
    def quoting(seen: Seen) -> Reply | None:
        return Reply(completion(None, refusal=f"no, {KEY}")) if seen.number == 2 else None

    with ChatServer(texts, quoting) as server:
        process = command(root, server)
        said = "".join(process.communicate())
    assert process.returncode == 0, said
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"
    with ChatServer(texts, lambda seen: Reply({"error": {"message": KEY}}, 401)) as server:
        process = command(root, server, "--debug", "--replace", "--kinds", "topic")
        said += "".join(process.communicate())
    assert process.returncode == 1
    assert "refuses the key in OPENAI_API_KEY" in said
    assert KEY not in said
    assert all(KEY.encode() not in data for data in contents(root).values())


def test_pages_have_words_of_their_own():
    words = [word for number in range(8) for word in page_of_words(number).split()]
    assert len(words) == len(set(words))
