"""Errors as clients get them: OpenAI's shape, no place of this machine, no stack trace."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sightline.errors import InputError, SearchIndexError, SightlineError
from sightline.search.words import clean
from sightline.serving.refused import Busy, Draining, TimedOut

_log = logging.getLogger("sightline.serving")
_CODES = {
    400: "bad_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    421: "wrong_host",
    429: "rate_limit_exceeded",
    501: "not_supported",
    503: "unavailable",
    504: "timeout",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ErrorFacts(BaseModel):
    """What went wrong."""

    message: str = Field(description="What is wrong and what to do, for people.")
    type: str = Field(description="Kind of error, e.g. invalid_request_error or server_error.")
    code: str = Field(description="What is wrong, for programs.")
    param: str | None = Field(description="The field of the request it is about.")
    request_id: str = Field(description="Also in the header X-Request-Id and in the service's log.")


class ErrorBody(BaseModel):
    """Every answer that is not a success."""

    error: ErrorFacts


class ApiError(HTTPException):
    """An answer other than success; an `HTTPException`, which FastAPI lets through wherever it is raised.

    Args:
        status: HTTP status.
        message: for the client; must not hold a path of this machine.
        code: for programs; by default from the status.
        param: the field of the request it is about.
        retry_after: seconds after which it makes sense to try again.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        more = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
        super().__init__(status, message, {**(headers or {}), **more})
        self.code = code or _CODES.get(status, "error")
        self.param = param


def error_response(error: ApiError, request_id: str) -> JSONResponse:
    """The answer to a client."""
    status = error.status_code
    # What a client sent may come back in a message: without characters that no answer can carry.
    facts = ErrorFacts(
        message=clean(error.detail),
        type=_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        code=error.code,
        param=clean(error.param) if error.param else None,
        request_id=request_id,
    )
    return JSONResponse(ErrorBody(error=facts).model_dump(), status_code=status, headers=error.headers)


def as_api_error(error: Exception) -> ApiError:
    """How a client is told of ``error``; what is not the client's doing is logged and told in general words."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {}))
    if isinstance(error, Busy):
        return ApiError(429, str(error), retry_after=error.retry_after_s)
    if isinstance(error, (TimedOut, Draining)):
        return ApiError(503, str(error), retry_after=2)
    if isinstance(error, InputError):
        return ApiError(400, without_paths(str(error)))
    # An index that cannot be read is the service's fault, and carries what Lance said as its cause.
    if isinstance(error, SearchIndexError) and not isinstance(error.__cause__, OSError | RuntimeError):
        return ApiError(400, without_paths(str(error)))
    if isinstance(error, SightlineError):
        _log.exception("a request failed")
        return ApiError(503, "the service cannot answer this now; its log says why", retry_after=5)
    _log.exception("a request failed unexpectedly")
    return ApiError(500, "the service failed; its log says why", code="internal_error")


def handle_errors(app: FastAPI) -> None:
    """Give every error that a route raises the one shape."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return error_response(as_api_error(error), request.state.request_id)

    for kind in (ApiError, RequestValidationError, HTTPException, SightlineError):
        app.add_exception_handler(kind, answer)


def without_paths(text: str, roots: Iterable[str | os.PathLike[str]] = ()) -> str:
    """``text`` without places of this machine: each path below a known folder becomes its last part."""
    places = {
        Path.home(),
        Path.cwd(),
        Path(tempfile.gettempdir()),
        Path(sys.prefix),
        Path(__file__).parents[2],
    }
    found = sorted({str(place) for place in (*places, *map(Path, roots))} - {"/", "."}, key=len, reverse=True)
    pattern = "|".join(re.escape(place) for place in found)
    return re.sub(rf"(?:{pattern})(?:/[^\s'\",;:)]*)?", lambda match: Path(match.group()).name, text)


def _invalid(error: RequestValidationError) -> ApiError:
    """The first thing wrong with a request, and how many more there are."""
    problems = error.errors()
    first = problems[0]
    place = [str(part) for part in first["loc"][1:]]  # the first says where: body, query or header
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return ApiError(400, f"the body is not valid JSON ({reason})", code="invalid_json")
    param = ".".join(place)[:100] or None
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    message = f"{param}: {first['msg']}{more}" if param else f"{first['msg']}{more}"
    return ApiError(400, message[:500], code="invalid_value", param=param)
