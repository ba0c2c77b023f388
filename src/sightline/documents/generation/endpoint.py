"""A vision-language model behind an OpenAI-compatible endpoint: one request at a time, asked until it is answered.

``POST {base_url}/chat/completions`` with the page images as data URIs, as the OpenAI API, vLLM, SGLang, llama.cpp,
Ollama and most gateways take it. What an endpoint does not know (structured output, the newer name of the token
limit) is found out with the first request and left out from then on.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from sightline.documents.generation.chat import Answer, Chat, PageImage
from sightline.documents.generation.pace import Pace, asked_to_wait, backoff
from sightline.documents.generation.replies import Reply, read_reply
from sightline.errors import ConfigError, EndpointError

# Ways to ask for JSON, the strictest first; the prompt asks for it, too.
_FORMATS = ("json_schema", "json_object", "text")
_LONGEST_HOLD = 600.0  # an endpoint that asks to wait longer is told of, not waited for
_MAX_BYTES = 8 << 20  # of a response; an answer has some thousand
_FAILURES_IN_A_ROW = 3
_SILENT_TRIES = 2  # of an address that never said anything
_CONNECT_SECONDS = 15.0
# A guess until the endpoint tells: what a page of a million pixels costs most models.
_FIRST_GUESS = 1500.0
_IMAGE_QUALITY = 90


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where the model is and how fast it may be asked.

    Attributes:
        base_url: up to and with the version, ``https://api.openai.com/v1`` or ``http://localhost:8000/v1``.
        model: the name the endpoint knows it by.
        key_variable: the environment variable that holds the key; where it is not set, none is sent.
        concurrency: requests under way at once.
        timeout: seconds for one request, from the first byte sent to the last byte read.
        attempts: tries per request before it is given up.
        backoff: seconds before the second try; doubled each time.
        requests_per_minute, tokens_per_minute: None for no limit.
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout: float = 180.0
    attempts: int = 6
    backoff: float = 1.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            _ = parts.port
        except ValueError as error:
            raise ConfigError(f"questions: base_url is no URL ({error})") from error
        checks = (
            (
                parts.scheme in ("http", "https") and bool(parts.hostname),
                "base_url must begin with http:// or https://",
            ),
            (
                not (parts.username or parts.password),
                "base_url has a user or password in it; put the key into an environment variable",
            ),
            (bool(self.model.strip()), "the model has no name"),
            (self.concurrency >= 1, f"concurrency must be at least 1, not {self.concurrency}"),
            (self.timeout > 0, f"timeout must be above 0, not {self.timeout}"),
            (self.attempts >= 1, f"attempts must be at least 1, not {self.attempts}"),
            (self.backoff >= 0, f"backoff must not be negative, but is {self.backoff}"),
            (
                self.requests_per_minute is None or self.requests_per_minute > 0,
                f"requests per minute must be above 0, not {self.requests_per_minute}",
            ),
            (
                self.tokens_per_minute is None or self.tokens_per_minute > 0,
                f"tokens per minute must be above 0, not {self.tokens_per_minute}",
            ),
        )
        for good, message in checks:
            if not good:
                raise ConfigError(f"questions: {message}")

    @property
    def url(self) -> str:
        """Where requests go; a query in the base URL (Azure's api-version) stays."""
        parts = urlsplit(self.base_url)
        path = parts.path.rstrip("/")
        path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
        return parts._replace(path=path, fragment="").geturl()

    @property
    def place(self) -> str:
        """The URL for people, without a query that may hold a secret."""
        return urlsplit(self.url)._replace(query="").geturl()


class GivenUpError(EndpointError):
    """One request failed as often as it may; others may still be answered."""


class Endpoint:
    """A connection to a model; use it with ``async with``.

    Raises:
        ConfigError: the key in the environment cannot be sent.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._key = os.environ.get(settings.key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(f"the key in {settings.key_variable} has characters no key has; copy it again")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=settings.concurrency)
        timeout = httpx.Timeout(settings.timeout, connect=min(settings.timeout, _CONNECT_SECONDS))
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits)
        self._pace = Pace(settings.requests_per_minute, settings.tokens_per_minute)
        self._format = 0
        self._tokens_name = "max_tokens"
        self._guess = _FIRST_GUESS
        self._heard = False  # any HTTP response
        self._answered = False
        self._failures = 0

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, chat: Chat) -> Answer:
        """The model's answer.

        Raises:
            GivenUpError: this request failed as often as it may.
            EndpointError: no request can succeed: nobody listens, the key or the model is wrong, the account is
                empty, or three requests in a row were given up.
        """
        images = [await asyncio.to_thread(_data_uri, image) for image in chat.images]
        failed, cause = 0, ""
        while failed < self.settings.attempts:
            if failed:
                await asyncio.sleep(backoff(failed, self.settings.backoff))
            shape = (self._format, self._tokens_name)
            guess = self._guess
            await self._pace.turn(guess)
            try:
                reply = await self._send(self._body(chat, images))
            except httpx.ConnectError as error:
                cause = f"cannot be reached ({_said(error)})"
                if not self._heard:
                    raise EndpointError(f"{self.settings.place} {cause}") from error
                failed += 1
                continue
            except (httpx.RequestError, TimeoutError) as error:
                late = isinstance(error, (httpx.TimeoutException, TimeoutError))
                cause = (
                    f"no answer within {self.settings.timeout:g} s" if late else f"broke off ({_said(error)})"
                )
                failed += 1
                if not self._heard and failed == _SILENT_TRIES:
                    break
                continue
            self._heard = True
            if reply.answer is not None:
                return self._take(reply.answer, guess)
            cause = self._safe(reply.problem)
            if reply.verdict == "refused":
                self._stop_or_adapt(reply, shape)
                if (self._format, self._tokens_name) == shape:
                    return Answer("rejected", cause)
                continue
            if reply.verdict == "stop":
                raise EndpointError(self._explained(reply.status, cause))
            if reply.wait is not None:
                if reply.wait > _LONGEST_HOLD:
                    raise EndpointError(
                        f"{self.settings.place} asks to wait {reply.wait:,.0f} s (Retry-After): {cause};"
                        " run it again then"
                    )
                self._pace.hold(reply.wait)
            failed += 1
        self._failures += 1
        message = f"{self.settings.place} gave no usable answer in {failed} tries: {cause}"
        if not self._heard or self._failures >= _FAILURES_IN_A_ROW:
            raise EndpointError(message)
        raise GivenUpError(message)

    def _take(self, answer: Answer, guess: float) -> Answer:
        self._answered, self._failures = True, 0
        if used := answer.tokens_in + answer.tokens_out:
            self._pace.used(guess, used)
            self._guess = 0.8 * self._guess + 0.2 * used
        # Answers are kept on disk, and an endpoint may quote what it was sent.
        return replace(answer, text=answer.text.replace(self._key, "***")) if self._key else answer

    async def _send(self, body: dict[str, Any]) -> Reply:
        async with (
            asyncio.timeout(self.settings.timeout),
            self._client.stream("POST", self.settings.url, json=body) as response,
        ):
            data = bytearray()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > _MAX_BYTES:
                    return Reply(
                        "again",
                        status=response.status_code,
                        problem=f"more than {_MAX_BYTES >> 20} MiB came back",
                    )
            wait = asked_to_wait(response.headers)
            return read_reply(response.status_code, bytes(data), wait, response.headers.get("location", ""))

    def _stop_or_adapt(self, reply: Reply, shape: tuple[int, str]) -> None:
        """After a request was called bad: leave out what this endpoint may not know, or see that it was the page.

        Raises:
            EndpointError: nothing is left to leave out, and no request was answered yet.
        """
        if (self._format, self._tokens_name) != shape:
            return  # another request found it out meanwhile
        said = reply.problem.lower()
        if "max_completion_tokens" in said and self._tokens_name == "max_tokens":
            self._tokens_name = "max_completion_tokens"
            return
        about_format = any(
            word in said for word in ("response_format", "json_schema", "json_object", "schema", "guided")
        )
        if self._format + 1 < len(_FORMATS) and (about_format or not self._answered):
            self._format += 1
            return
        if not self._answered:
            raise EndpointError(self._explained(reply.status, self._safe(reply.problem)))

    def _body(self, chat: Chat, images: list[str]) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": image}} for image in images
        ]
        content.append({"type": "text", "text": chat.text})
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": chat.system},
            {"role": "user", "content": content},
        ]
        if chat.earlier is not None:
            answer, complaint = chat.earlier
            messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": complaint}]
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": messages,
            self._tokens_name: chat.max_tokens,
        }
        kind = _FORMATS[self._format]
        if kind == "json_schema":
            schema = {"name": chat.schema_name, "strict": True, "schema": dict(chat.schema)}
            body["response_format"] = {"type": kind, "json_schema": schema}
        elif kind == "json_object":
            body["response_format"] = {"type": kind}
        return body

    def _explained(self, status: int, said: str) -> str:
        place, variable = self.settings.place, self.settings.key_variable
        if status in (401, 403):
            if not self._key:
                return f"{place} wants a key (HTTP {status}: {said}); put it into the environment variable {variable}"
            return f"{place} refuses the key in {variable} (HTTP {status}: {said})"
        if status in (404, 405, 410):
            return f"{place} does not know this address or the model '{self.settings.model}' (HTTP {status}: {said})"
        return f"{place} refuses the request (HTTP {status}: {said})"

    def _safe(self, text: str) -> str:
        """What an endpoint said, in one line of bounded length, without the key should it be quoted."""
        text = " ".join(text.split())
        if self._key:
            text = text.replace(self._key, "***")
        return text[:300] or "no message"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _data_uri(image: PageImage) -> str:
    """The page as a JPEG in a data URI, made smaller where it has more pixels than it may."""
    from PIL.Image import Resampling

    from sightline.inputs.images import image_size, open_image

    with open(image.path, "rb") as file:
        data = file.read()
    width, height = image_size(data, source=image.path)
    if width * height > image.pixels or not data.startswith(b"\xff\xd8"):
        scale = min(1.0, (image.pixels / (width * height)) ** 0.5)
        size = max(1, int(width * scale)), max(1, int(height * scale))
        page = open_image(data, source=image.path, target_pixels=size[0] * size[1])
        buffer = io.BytesIO()
        page.resize(size, Resampling.LANCZOS).save(buffer, format="JPEG", quality=_IMAGE_QUALITY)
        data = buffer.getvalue()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
