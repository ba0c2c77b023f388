"""The only reader of URLs, with its policy.

http and https only. The host is resolved once, every address it has is checked, and the connection
goes to one of those very addresses, so a name that answers differently the second time gains nothing.
Redirects start from the beginning. Proxies, cookies and credentials are never used.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from sightline.errors import FetchError
from sightline.inputs.addresses import refusal

_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True)
class FetchPolicy:
    """What `fetch` may do.

    Attributes:
        max_bytes: largest body read.
        connect_timeout: seconds to connect to one address, and for the TLS handshake's reads.
        read_timeout: seconds the server may stay silent.
        total_timeout: seconds for everything, redirects included.
        max_redirects: redirects followed.
        allow_private: also connect to private, loopback, link-local and reserved addresses.
        user_agent: sent with each request.
    """

    max_bytes: int = 100 * 2**20
    connect_timeout: float = 10.0
    read_timeout: float = 15.0
    total_timeout: float = 60.0
    max_redirects: int = 5
    allow_private: bool = False
    user_agent: str = "sightline"


DEFAULT = FetchPolicy()


def redact(url: str) -> str:
    """``url`` without user, password, query and fragment, for messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable URL>"
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?..." if parts.query else "")
    return text if len(text) <= 200 else text[:200] + "..."


def fetch(url: str, policy: FetchPolicy = DEFAULT) -> bytes:
    """The body behind ``url``.

    Raises:
        FetchError: the URL, its host's address or a redirect is refused; the server fails, is too slow
            or sends more than ``policy.max_bytes``, nothing, or less than it announced. Names the URL
            without credentials and query.
    """
    deadline = time.monotonic() + policy.total_timeout
    current = url
    for _ in range(policy.max_redirects + 1):
        try:
            answer = _request(current, policy, deadline)
        except FetchError as error:
            if current == url:
                raise
            raise FetchError(f"redirects to {error}", source=redact(url)) from error
        if isinstance(answer, bytes):
            return answer
        if urlsplit(current).scheme.lower() == "https" and answer.lower().startswith("http:"):
            raise FetchError(f"redirects from https to {redact(answer)}", source=redact(current))
        current = answer
    raise FetchError(f"redirects more than {policy.max_redirects} times", source=redact(url))


def _request(url: str, policy: FetchPolicy, deadline: float) -> bytes | str:
    """The body, or the absolute URL of a redirect."""
    name = redact(url)
    parts, host, port = _check(url)
    connection = http.client.HTTPConnection(host, port)
    watch = _Watch(deadline)
    try:
        addresses = _resolve(host, port, policy, deadline, name)
        connection.sock = watch.follow(_connect(addresses, policy, deadline))
        connection.sock.settimeout(policy.read_timeout)
        if parts.scheme.lower() == "https":
            secure = ssl.create_default_context().wrap_socket(
                connection.sock, server_hostname=host, do_handshake_on_connect=False
            )
            connection.sock = watch.follow(secure)
            secure.do_handshake()
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?[]')}" if parts.query else ""
        connection.request("GET", target + query, headers=_headers(parts, host, policy))
        response = connection.getresponse()
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            return urljoin(url, location.strip())
        body = _body(response, policy, name)
        if watch.expired:
            raise TimeoutError
        return body
    except (FetchError, OSError, http.client.HTTPException, ValueError) as error:
        if watch.expired:
            reason = f"takes longer than {policy.total_timeout:g} s in all"
        elif isinstance(error, FetchError):
            raise
        elif isinstance(error, TimeoutError):
            reason = (
                f"does not answer in time (connecting {policy.connect_timeout:g} s, reading "
                f"{policy.read_timeout:g} s, all {policy.total_timeout:g} s)"
            )
        elif isinstance(error, ssl.SSLError):
            detail = getattr(error, "verify_message", "") or error.reason or error
            reason = f"has no valid TLS connection ({detail})"
        else:
            reason = f"cannot be read ({error or type(error).__name__})"
        raise FetchError(reason, source=name) from error
    finally:
        watch.cancel()
        connection.close()


class _Watch:
    """Ends a connection at the deadline: a server that drips bytes never exceeds a read timeout."""

    def __init__(self, deadline: float) -> None:
        self.expired = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._expire)
        self._timer.daemon = True
        self._timer.start()

    def follow(self, connected: socket.socket) -> socket.socket:
        self._socket = connected
        return connected

    def cancel(self) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        if self._socket is not None:
            # The plain socket's shutdown: SSLSocket's would pull the TLS state from under the reader.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _check(url: str) -> tuple[SplitResult, str, int]:
    name = redact(url)
    if _UNSAFE.search(url):
        raise FetchError("contains spaces, backslashes or control characters", source=name)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        raise FetchError(f"is not a readable URL ({error})", source=name) from error
    if parts.scheme.lower() not in ("http", "https"):
        raise FetchError(f"only http and https are read, not {parts.scheme or 'a bare path'}", source=name)
    if not host:
        raise FetchError("names no host", source=name)
    if parts.username is not None or parts.password is not None:
        raise FetchError("carries a user name or password, which is not sent; remove it", source=name)
    return parts, host, port if port is not None else (443 if parts.scheme.lower() == "https" else 80)


def _resolve(host: str, port: int, policy: FetchPolicy, deadline: float, name: str) -> list[tuple]:
    """Addresses of ``host`` as getaddrinfo gives them, all of them checked."""
    found: list[tuple] = []
    failure: list[OSError | UnicodeError] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failure.append(error)

    # getaddrinfo takes no timeout; a daemon thread lets us stop waiting.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(min(policy.connect_timeout, _left(deadline)))
    if thread.is_alive():
        raise FetchError(f"the address of {host} was not found in time", source=name)
    if failure or not found:
        raise FetchError(f"the host {host} is unknown", source=name)
    for entry in found:
        address = str(entry[4][0])
        reason = None if policy.allow_private else refusal(address)
        if reason:
            raise FetchError(
                f"leads to the {reason} address {address}, which is refused "
                "(FetchPolicy(allow_private=True) allows it)",
                source=name,
            )
    return found


def _connect(addresses: list[tuple], policy: FetchPolicy, deadline: float) -> socket.socket:
    failure: OSError = OSError("no address")
    for family, kind, protocol, _, address in addresses:
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(min(policy.connect_timeout, _left(deadline)))
            connecting.connect(address)
            return connecting
        except OSError as error:
            connecting.close()
            failure = error
    raise failure


def _body(response: http.client.HTTPResponse, policy: FetchPolicy, name: str) -> bytes:
    if response.status != 200:
        raise FetchError(f"the server answers {response.status} {response.reason}".rstrip(), source=name)
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise FetchError(f"is sent compressed ({encoding}) although that was not asked for", source=name)
    announced = response.length  # None when chunked or absent
    too_large = f"is larger than the limit of {policy.max_bytes:,} bytes"
    if announced is not None and announced > policy.max_bytes:
        raise FetchError(too_large, source=name)
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > policy.max_bytes:
            raise FetchError(too_large, source=name)
    if announced is not None and size < announced:
        raise FetchError(f"ends after {size:,} of {announced:,} bytes", source=name)
    if not size:
        raise FetchError("is empty", source=name)
    return b"".join(chunks)


def _headers(parts: SplitResult, host: str, policy: FetchPolicy) -> dict[str, str]:
    shown = f"[{host}]" if ":" in host else host
    return {
        "Host": shown if parts.port is None else f"{shown}:{parts.port}",
        "User-Agent": policy.user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
