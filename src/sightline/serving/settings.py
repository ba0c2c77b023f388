"""What a service is told: where, what, and its limits."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from sightline.errors import ConfigError

PREFIX = "SIGHTLINE_SERVE_"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MIB = 2**20
# Shorter ones can be guessed over the network.
MIN_KEY = 12


@dataclass(frozen=True)
class Settings:
    """Settings of a service; every one can also be given as ``SIGHTLINE_SERVE_<NAME>`` in the environment.

    Attributes:
        host, port: where it listens.
        model: the encoder, if it is not where the index says.
        reranker: a reranker to offer; None for none.
        device: of the models.
        runs: folder of training runs, for the view of models.
        feedback: file that feedback is kept in.
        versions: further versions of the index that are loaded at start, to be asked for by name.
        api_keys: a request to the API must bring one of them; empty for an open service.
        allowed_hosts: host names that requests may be addressed to; empty for any. Keeps web pages that point
            a name of theirs at this machine (DNS rebinding) from reading what is served on it.
        cors_origins: origins of web pages that may call the service from a browser.
        max_body_bytes: of a JSON body.
        max_upload_bytes: of a multipart body.
        max_json_depth: lists and objects inside each other.
        max_json_values: values in a JSON body.
        max_inputs: texts or images per request.
        max_images: images per request.
        max_characters: per text.
        max_pixels: per image.
        max_top_k: pages a search may ask for, and pages a reranker may be asked to score.
        max_concurrent: requests that are worked on at once; more are answered with 503.
        max_waiting_bytes: bodies held in memory at once, over all requests.
        max_queue: items that wait for the model; more are answered with 429.
        token_budget: tokens per forward pass; by default what suits the device.
        timeout_s: seconds a request may take.
        drain_s: seconds that requests get to finish after SIGTERM.
        watch_s: seconds between looks at which version of the index is open; 0 for never.
        threads: searches and page images that are worked on at once, beside the model.
        log_queries: write queries to the log.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: str | None = None
    reranker: str | None = None
    device: str | None = None
    runs: Path | None = None
    feedback: Path | None = None
    versions: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 32 * _MIB
    max_upload_bytes: int = 64 * _MIB
    max_json_depth: int = 16
    max_json_values: int = 1_000_000
    max_inputs: int = 2048
    max_images: int = 64
    max_characters: int = 200_000
    max_pixels: int = 40_000_000
    max_top_k: int = 200
    max_concurrent: int = 256
    max_waiting_bytes: int = 256 * _MIB
    max_queue: int = 4096
    token_budget: int | None = None
    timeout_s: float = 60.0
    drain_s: float = 30.0
    watch_s: float = 1.0
    threads: int = 8
    log_queries: bool = False

    def __post_init__(self) -> None:
        for name in (
            "max_body_bytes",
            "max_json_depth",
            "max_concurrent",
            "max_queue",
            "threads",
            "timeout_s",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port must be from 0 to 65535, not {self.port}")
        for key in self.api_keys:
            if len(key) < MIN_KEY or not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigError(
                    f"an API key must be {MIN_KEY} or more ASCII characters without spaces; make one with "
                    f"`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
                )

    @property
    def url(self) -> str:
        """Address for people on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}"

    @classmethod
    def read(cls, environment: Mapping[str, str], **given: Any) -> Settings:
        """Settings from the environment, and over them what is ``given`` and not None.

        Raises:
            ConfigError: a variable with our prefix that is no setting, or a value that does not fit it.
        """
        known = get_type_hints(cls)
        values: dict[str, Any] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable[len(PREFIX) :].lower()
            if name not in known:
                raise ConfigError(
                    f"{variable} is no setting; there are "
                    f"{', '.join(PREFIX + field.name.upper() for field in fields(cls))}"
                )
            values[name] = _value(variable, text, known[name])
        values.update({name: value for name, value in given.items() if value is not None})
        settings = cls(**values)
        if settings.allowed_hosts or settings.host not in LOOPBACK:
            return settings
        return replace(settings, allowed_hosts=LOOPBACK)


def read_keys(path: Path) -> tuple[str, ...]:
    """API keys from a file, one per line; blank lines and lines that start with # do not count.

    Raises:
        ConfigError: it cannot be read, or holds no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the API keys cannot be read ({error})") from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not keys:
        raise ConfigError(f"{path} holds no API key; write one per line")
    return keys


def _value(variable: str, text: str, kind: Any) -> Any:
    """``text`` as the setting's type; lists are separated by commas."""
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(kind, types.UnionType):
        kind = next(option for option in get_args(kind) if option is not type(None))
    if kind is bool:
        if text.lower() not in ("0", "1", "true", "false", "yes", "no"):
            raise ConfigError(f"{variable} must be true or false, not {text!r}")
        return text.lower() in ("1", "true", "yes")
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{variable} must be a number, not {text!r}") from error
