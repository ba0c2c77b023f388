"""What an HTTP response of a chat endpoint means: an answer, try again, this request is bad, or stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sightline.documents.generation.chat import Answer

Verdict = Literal["answer", "again", "refused", "stop"]
_AGAIN = (408, 409, 425, 429)
_REFUSED = (400, 413, 415, 422, 501)
# Said with 429 when waiting does not help, and with 400 when the page is not to the endpoint's liking.
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_credits")
_CONTENT = ("content_filter", "content_policy_violation", "moderation")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, judged.

    Attributes:
        verdict: what to do.
        answer: for "answer" only.
        status: of HTTP.
        problem: what was said or is wrong, not cleaned.
        wait: seconds it asks to wait.
    """

    verdict: Verdict
    answer: Answer | None = None
    status: int = 200
    problem: str = ""
    wait: float | None = None


def read_reply(status: int, data: bytes, wait: float | None = None, location: str = "") -> Reply:
    """Judge a response.

    Args:
        status: of HTTP.
        data: the body.
        wait: seconds of its Retry-After header.
        location: of a redirect.
    """
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    # Gateways wrap an error of the model behind them into a response that calls itself good.
    error = body.get("error") if isinstance(body, Mapping) else None
    if status == 200 and error:
        code = error.get("code") if isinstance(error, Mapping) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
    if status == 200:
        return _read_answer(body, data)
    said, code = _message(body, data)
    if 300 <= status < 400:
        return Reply(
            "stop", status=status, problem=f"it points to {location or 'another place'}; give that address"
        )
    if status == 429 and code in _NO_MONEY:
        return Reply("stop", status=status, problem=said)
    if status in _AGAIN or (status >= 500 and status != 501):
        return Reply("again", status=status, problem=f"HTTP {status}: {said}", wait=wait)
    if status in _REFUSED:
        if code in _CONTENT:
            return Reply("answer", Answer("refusal", said))
        return Reply("refused", status=status, problem=said)
    return Reply("stop", status=status, problem=said)


def _message(body: Any, data: bytes) -> tuple[str, str]:
    """What an error response says, and its code."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    if isinstance(error, str):
        return error, ""
    if isinstance(error, Mapping):
        said = error.get("message") or error.get("detail") or error.get("msg") or json.dumps(error)[:300]
        param = error.get("param")
        said = f"{said} ({param})" if isinstance(param, str) and param not in str(said) else str(said)
        return said, str(error.get("code") or error.get("type") or "")
    return data[:300].decode("utf-8", "replace"), ""


def _read_answer(body: Any, data: bytes) -> Reply:
    if not isinstance(body, Mapping):
        return Reply("again", problem=f"the response is not JSON: {data[:100].decode('utf-8', 'replace')}")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return Reply("again", problem="the response has no choices")
    message = choices[0].get("message")
    if not isinstance(message, Mapping):
        return Reply("again", problem="the response has no message")
    tokens = _usage(body.get("usage"))
    finish = choices[0].get("finish_reason")
    refusal = message.get("refusal")
    text = _text(message.get("content"))
    if refusal or finish == "content_filter":
        return Reply("answer", Answer("refusal", str(refusal or "filtered"), *tokens))
    if finish == "length":
        return Reply("answer", Answer("length", text, *tokens))
    if not text.strip():
        return Reply("again", problem="the answer is empty")
    return Reply("answer", Answer("stop", text, *tokens))


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _usage(usage: Any) -> tuple[int, int]:
    if not isinstance(usage, Mapping):
        return 0, 0

    def count(name: str) -> int:
        value = usage.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0

    return count("prompt_tokens"), count("completion_tokens")
