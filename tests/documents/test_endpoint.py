"""The client of a chat endpoint, against a real server that behaves well, slowly, wrongly and not at all."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from PIL import Image

from sightline.documents.generation.chat import Answer, AnswerBook, Chat, PageImage
from sightline.documents.generation.endpoint import Endpoint, EndpointSettings, GivenUpError
from sightline.documents.generation.pace import Pace, asked_to_wait, backoff
from sightline.documents.generation.replies import read_reply
from sightline.errors import ConfigError, DataError, EndpointError
from support.chat_server import Behaviour, ChatServer, Reply, Seen, closed_port, completion

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def page(tmp_path: Path) -> PageImage:
    path = tmp_path / "page.jpg"
    Image.effect_noise((200, 100), 60).convert("RGB").save(path, quality=90)
    return PageImage(str(path), "hash", 50_000)


def chat(page: PageImage, text: str = "Write questions") -> Chat:
    return Chat("You write.", (page,), text, "questions", {"type": "object"}, 100)


def settings(server: ChatServer | str, **changes) -> EndpointSettings:
    url = server if isinstance(server, str) else server.url
    return EndpointSettings(url, "tiny-vl", **{"timeout": 5.0, "backoff": 0.001, "attempts": 4, **changes})


def ask(options: EndpointSettings, *chats: Chat) -> list[Answer]:
    """The answers to the chats, one after another."""

    async def run() -> list[Answer]:
        async with Endpoint(options) as endpoint:
            return [await endpoint.ask(item) for item in chats]

    return asyncio.run(run())


def scripted(*replies: Reply) -> Behaviour:
    """The replies in turn, the last one again and again."""
    return lambda seen: replies[min(seen.number, len(replies) - 1)]


GOOD = Reply(completion({"questions": []}, tokens=(321, 12)))


def test_what_is_sent_and_what_comes_back(page):
    with ChatServer({}, scripted(GOOD)) as server:
        (answer,) = ask(settings(server), chat(page))
    assert answer == Answer("stop", '{"questions": []}', 321, 12)
    (seen,) = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert (seen.body["model"], seen.body["max_tokens"]) == ("tiny-vl", 100)
    assert seen.body["response_format"]["json_schema"]["strict"] is True
    assert [part["type"] for part in seen.body["messages"][1]["content"]] == ["image_url", "text"]


def test_images_are_sent_as_they_are_or_smaller(page):
    import base64
    import io

    with ChatServer({}, scripted(GOOD)) as server:
        small = PageImage(page.path, "hash", 5_000)
        ask(settings(server), chat(page), chat(small))
    sent = [
        base64.b64decode(seen.body["messages"][1]["content"][0]["image_url"]["url"].split(",")[1])
        for seen in server.seen
    ]
    assert sent[0] == Path(page.path).read_bytes()
    with Image.open(io.BytesIO(sent[1])) as image:
        assert image.format == "JPEG"
        assert image.size == (100, 50)


@pytest.mark.parametrize(
    "trouble",
    [
        Reply({"error": {"message": "busy"}}, status=500),
        Reply(b"<html>bad gateway</html>", status=502),
        Reply({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"}),
        Reply(reset=True),
        Reply(b"{not json"),
        Reply({"choices": []}),
        Reply({"choices": [{"finish_reason": "stop"}]}),
        Reply(completion("")),
        Reply({"error": {"code": 503, "message": "upstream is away"}}),
        Reply([1, 2, 3]),
    ],
    ids=[
        "500",
        "502-html",
        "429",
        "reset",
        "bad-json",
        "no-choices",
        "no-message",
        "empty",
        "wrapped",
        "list",
    ],
)
def test_trouble_that_passes_is_waited_out(page, trouble):
    with ChatServer({}, scripted(GOOD, trouble, trouble, GOOD)) as server:
        answers = ask(settings(server), chat(page), chat(page, "second"))
    assert [answer.finish for answer in answers] == ["stop", "stop"]
    assert len(server.seen) == 4


def test_trouble_that_stays_gives_one_request_up_and_then_all(page):
    bad = Reply({"error": {"message": "broken"}}, status=500)

    async def run(server: ChatServer) -> None:
        async with Endpoint(settings(server, attempts=2)) as endpoint:
            await endpoint.ask(chat(page))
            for _ in range(2):
                with pytest.raises(GivenUpError, match="no usable answer in 2 tries: HTTP 500: broken"):
                    await endpoint.ask(chat(page))
            with pytest.raises(EndpointError) as caught:
                await endpoint.ask(chat(page))
            assert not isinstance(caught.value, GivenUpError)

    with ChatServer({}, scripted(GOOD, bad)) as server:
        asyncio.run(run(server))
    assert len(server.seen) == 1 + 3 * 2


def test_a_server_too_slow_or_dripping_is_given_up(page):
    slow, drip = Reply(GOOD.body, delay=1.0), Reply(GOOD.body, drip=0.1)
    with ChatServer({}, scripted(GOOD, slow, drip, GOOD)) as server:
        started = time.monotonic()
        answers = ask(settings(server, timeout=0.3), chat(page), chat(page, "second"))
        assert time.monotonic() - started < 0.1 * len(json.dumps(GOOD.body)), "it waited for all that drips"
    assert len(answers) == 2
    with (
        ChatServer({}, lambda seen: slow) as server,
        pytest.raises(EndpointError, match=r"no answer within 0\.2 s"),
    ):
        ask(settings(server, timeout=0.2, attempts=9), chat(page))
    assert len(server.seen) == 2, "an address that never spoke is not asked nine times"


def test_nobody_listens(page):
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:\d+/v1/chat/completions cannot be reached"):
        ask(settings(f"http://127.0.0.1:{closed_port()}/v1", attempts=10_000, backoff=60), chat(page))
    assert time.monotonic() - started < 25, "one wait between tries is half a minute at least"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Reply({"error": {"message": f"Incorrect API key: {KEY}"}}, 401),
            "refuses the key in OPENAI_API_KEY .*401",
        ),
        (Reply({"error": {"message": "no access"}}, 403), "refuses the key"),
        (Reply({"error": {"message": "The model `tiny-vl` does not exist"}}, 404), "the model 'tiny-vl'"),
        (Reply({"error": {"message": "pay", "code": "insufficient_quota"}}, 429), r"429: pay"),
        (Reply({"detail": "Payment required"}, 402), "402: Payment required"),
        (Reply(b"", 307, {"Location": "https://elsewhere/v1"}), "points to https://elsewhere/v1"),
        (Reply({"error": {"message": "later"}}, 429, {"Retry-After": "7200"}), r"asks to wait 7,200 s"),
    ],
)
def test_what_no_second_try_would_change_stops_at_once(page, reply, message):
    with ChatServer({}, scripted(reply)) as server, pytest.raises(EndpointError, match=message) as caught:
        ask(settings(server), chat(page))
    assert len(server.seen) == 1
    assert KEY not in str(caught.value)
    assert not isinstance(caught.value, GivenUpError)


def test_without_a_key_none_is_sent_and_the_error_says_where_it_belongs(page, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with ChatServer({}, scripted(GOOD)) as server:
        ask(settings(server), chat(page))
    assert "Authorization" not in server.seen[0].headers
    refused = scripted(Reply({"error": "no key"}, 401))
    with (
        ChatServer({}, refused) as server,
        pytest.raises(EndpointError, match="the environment variable MY_KEY"),
    ):
        ask(settings(server, key_variable="MY_KEY"), chat(page))


def test_settings_and_keys_that_cannot_work(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-caf\u00e9\n-x")
    with pytest.raises(ConfigError, match="characters no key has") as caught:
        Endpoint(EndpointSettings("http://localhost/v1", "m"))
    assert "sk-" not in str(caught.value)
    for wrong, message in (
        ({"base_url": "localhost:8000"}, "must begin with http"),
        ({"base_url": "http://u:secret@host/v1"}, "user or password"),
        ({"base_url": "http://host:port/v1"}, "is no URL"),
        ({"model": " "}, "no name"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"attempts": 0}, "attempts"),
        ({"requests_per_minute": 0}, "requests per minute"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            EndpointSettings(**{"base_url": "http://h/v1", "model": "m", **wrong})
        assert "secret" not in str(caught.value)
    azure = EndpointSettings("https://x.example/openai/v1/?api-version=7", "m")
    assert azure.url == "https://x.example/openai/v1/chat/completions?api-version=7"
    assert azure.place == "https://x.example/openai/v1/chat/completions"


def test_what_the_endpoint_does_not_know_is_left_out_from_then_on(page):
    def old(seen: Seen) -> Reply | None:
        if seen.body.get("response_format", {}).get("type") == "json_schema":
            return Reply(
                {"error": {"message": "'response_format.type' must be 'json_object' or 'text'"}}, 400
            )
        if "max_tokens" in seen.body:
            return Reply({"error": {"message": "Unsupported parameter: use max_completion_tokens"}}, 400)
        return GOOD

    with ChatServer({}, old) as server:
        ask(settings(server, attempts=1), chat(page), chat(page, "second"))
    kinds = [seen.body.get("response_format", {}).get("type") for seen in server.seen]
    assert kinds == ["json_schema", "json_object", "json_object", "json_object"]
    assert server.seen[-1].body["max_completion_tokens"] == 100

    plain = lambda seen: Reply({"detail": "extra fields"}, 422) if "response_format" in seen.body else GOOD  # noqa: E731
    with ChatServer({}, plain) as server:
        assert ask(settings(server), chat(page))[0].finish == "stop"
    assert len(server.seen) == 3


def test_a_bad_request_stops_the_first_and_passes_over_a_later_one(page):
    bad = Reply({"error": {"message": "image is not supported"}}, 400)
    with (
        ChatServer({}, lambda seen: bad) as server,
        pytest.raises(EndpointError, match="image is not supported"),
    ):
        ask(settings(server), chat(page))
    with ChatServer({}, scripted(GOOD, bad, bad, bad, GOOD)) as server:
        answers = ask(settings(server), chat(page), chat(page, "second"), chat(page, "third"))
    assert [answer.finish for answer in answers[:2]] == ["stop", "rejected"]
    assert answers[1].text == "image is not supported"


def test_refusals_and_cut_answers_are_answers(page):
    replies = [
        Reply(completion(None, refusal="I cannot help")),
        Reply(completion("", finish="content_filter")),
        Reply({"error": {"message": "policy", "code": "content_filter"}}, 400),
        Reply(completion('{"questions": [', finish="length")),
        Reply(completion([{"type": "text", "text": "{}"}])),
    ]
    with ChatServer({}, scripted(*replies)) as server:
        answers = ask(settings(server), *[chat(page, str(number)) for number in range(5)])
    assert [answer.finish for answer in answers] == ["refusal", "refusal", "refusal", "length", "stop"]
    assert [answer.text for answer in answers] == [
        "I cannot help",
        "filtered",
        "policy",
        '{"questions": [',
        "{}",
    ]


def test_an_endless_response_is_cut_off(page):
    with (
        ChatServer({}, lambda seen: Reply(b"x" * (9 << 20))) as server,
        pytest.raises(EndpointError, match="8 MiB"),
    ):
        ask(settings(server, attempts=1), chat(page))


def test_retry_after_holds_all_requests(page):
    hold = Reply({"error": {"message": "limit"}}, 429, {"Retry-After": "0.4"})

    async def run(server: ChatServer) -> None:
        async with Endpoint(settings(server)) as endpoint:
            await endpoint.ask(chat(page))
            await asyncio.gather(*[endpoint.ask(chat(page, str(number))) for number in range(4)])

    with ChatServer({}, lambda seen: hold if 1 <= seen.number <= 4 else GOOD) as server:
        asyncio.run(run(server))
    times = [seen.at for seen in server.seen]
    assert len(times) == 9
    assert min(times[5:]) - max(times[1:5]) > 0.3


def test_waits_that_headers_ask_for():
    assert asked_to_wait({"retry-after": "12"}) == 12
    assert asked_to_wait({"retry-after": "-5"}) == 0
    assert asked_to_wait({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    moment = datetime.now(UTC) + timedelta(seconds=30)
    assert asked_to_wait({"retry-after": format_datetime(moment, usegmt=True)}) == pytest.approx(30, abs=2)
    for odd in ({}, {"retry-after": "soon"}, {"retry-after": ""}, {"retry-after-ms": "x"}):
        assert asked_to_wait(odd) is None


def test_backoff_doubles_within_its_bounds():
    for attempt, longest in ((1, 1.0), (2, 2.0), (5, 16.0), (30, 60.0)):
        drawn = [backoff(attempt, 1.0) for _ in range(50)]
        assert all(longest / 2 <= seconds <= longest for seconds in drawn)
        assert len(set(drawn)) > 40


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time does not pass: where all wait, it jumps to the next timer."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = self._scheduled[0].when()
        super()._run_once()


def test_requests_and_tokens_keep_their_pace(monkeypatch):
    def turns(pace: Pace, tokens: list[float], used: float | None = None) -> list[float]:
        """When each was let through; the first has used so many tokens."""
        times = []

        async def one(count: float) -> None:
            await pace.turn(count)
            times.append(time.monotonic())

        async def run() -> None:
            first, *others = tokens
            await one(first)
            if used is not None:
                pace.used(first, used)
            await asyncio.gather(*[one(count) for count in others])

        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            monkeypatch.setattr(time, "monotonic", runner.get_loop().time)
            runner.run(run())
        return times

    by_request = turns(Pace(requests_per_minute=1200), [1] * 6)
    assert by_request == pytest.approx([0.05 * number for number in range(6)])
    by_token = turns(Pace(tokens_per_minute=60_000), [100] * 4)
    assert by_token == pytest.approx([0.1 * number for number in range(4)])
    assert turns(Pace(), [1e9] * 50) == [0.0] * 50
    assert turns(Pace(tokens_per_minute=60_000), [10_000, 1]) == pytest.approx([0, 10])
    assert turns(Pace(tokens_per_minute=60_000), [10_000, 1], used=100) == pytest.approx([0, 0.1])


def test_usage_that_is_no_number_counts_as_none():
    for usage in (None, [], {"prompt_tokens": "7"}, {"prompt_tokens": True, "completion_tokens": -1}):
        body = {**completion("{}"), "usage": usage}
        answer = read_reply(200, json.dumps(body).encode()).answer
        assert answer == Answer("stop", "{}", 0, 0)


def test_the_answer_book_keeps_whole_lines(tmp_path, page):
    path = tmp_path / "questions" / "answers.jsonl"
    book = AnswerBook(path)
    with pytest.raises(DataError, match="another `sightline questions` is at work"):
        AnswerBook(path)
    names = [chat(page, str(number)).fingerprint("m") for number in range(3)]
    assert (
        len({*names, chat(page, "0").fingerprint("other"), chat(page, "0").again("a", "b").fingerprint("m")})
        == 5
    )
    for name in names:
        book.add(name, Answer("stop", f"text \u2028 {name}", 1, 2))
    book.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    book = AnswerBook(path)
    assert [book.get(name) is not None for name in names] == [True, True, False]
    book.add(names[2], Answer("stop", f"text \u2028 {names[2]}", 1, 2))
    book.close()
    assert path.read_bytes() == whole
    book = AnswerBook(path)
    book.finish()
    book.close()
    assert sorted(whole.splitlines()) == path.read_bytes().splitlines()
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(DataError, match=r"answers\.jsonl:1: damaged"):
        AnswerBook(path)
    AnswerBook(tmp_path / "questions" / "other.jsonl").close()
