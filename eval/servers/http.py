"""The one HTTP client for all that goes to a server, and what is said where it fails.

Key, certificate, proxies and limits come from an ``Address`` alone, for servers that we start as
for those that run already.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..cli.errors import one_line

REFUSED, BROKE_OFF = "connection refused", "the connection broke off"
SECONDS = 30.0  # for whatever is no completion
LOCAL = ("localhost", "::1", "0.0.0.0")
# As many connections as requests in flight, and none kept for long: servers close those that are
# idle for 5 s, and a request sent on one just then is lost.
_IDLE_SECONDS = 1.0
_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_SECONDS
)


class _AsyncClient(httpx.AsyncClient):
    """Sends again what met a connection that the server had just closed (RFC 9112, 9.3.1).

    A server that is busy may find that a connection was idle for too long just when a request has
    come on it, and resets it unread. That is a connection used before; one made for the request
    that breaks off is a failure like any other. The time of the request runs on.
    """

    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        while True:
            connected = False

            async def note(event: str, _: Any) -> None:
                nonlocal connected
                connected = connected or "connect_tcp" in event

            request.extensions["trace"] = note
            try:
                return await super().send(request, **how)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if connected:
                    raise


@dataclass(frozen=True)
class Address:
    """Where a server is, and what it takes to speak to it.

    Attributes:
        told: how the user named it, for messages.
        key: sent with every request, if there is one.
        certificate: PEM file that is trusted beside the system's authorities.
        pinned: the file is the server's own: it alone is trusted, whatever host it was made for.
    """

    url: str
    told: str = ""
    key: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    pinned: bool = False

    def client(self, seconds: float = SECONDS) -> httpx.Client:
        """A client whose paths are relative to the address."""
        return httpx.Client(**self._how(seconds))

    def async_client(self, seconds: float) -> httpx.AsyncClient:
        """The same for many requests at once."""
        return _AsyncClient(**self._how(seconds))

    def _how(self, seconds: float) -> dict[str, Any]:
        secure = self.url.startswith("https")
        return {
            "base_url": self.url,
            "timeout": seconds,
            "headers": {"Authorization": f"Bearer {self.key}"} if self.key else {},
            "verify": _context(self.certificate, self.pinned, *_system()) if secure else False,
            "trust_env": not self.local,  # no proxy stands before a server of this machine
            "follow_redirects": True,
            "limits": _LIMITS,
        }

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        return host in LOCAL or host.startswith("127.")


def _system() -> tuple[str | None, ...]:
    """What says where the system's authorities are."""
    return tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))


@lru_cache
def _context(certificate: Path | None, pinned: bool, *_: str | None) -> ssl.SSLContext:
    """Made once for each place of authorities: to read them takes a while."""
    if not pinned:
        context = httpx.create_ssl_context()
        if certificate:
            context.load_verify_locations(certificate)
    else:
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a server's own, without its authority
    return context


def why(error: BaseException) -> str:
    """What went wrong, in words that tell unlike things apart."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({cause.verify_message}); give the file of the"
                " certificate or its authority as --ca-file"
            )
        if isinstance(cause, ssl.SSLError):
            return f"no TLS could be agreed on ({cause.reason or 'closed'}); is it http://?"
        if isinstance(cause, ConnectionRefusedError):
            return REFUSED
        if isinstance(cause, socket.gaierror):
            return f"no such host ({cause.strerror})"
        if isinstance(cause, (TimeoutError, httpx.TimeoutException)):
            return "no answer in time"
        if isinstance(cause, httpx.HTTPStatusError):
            return _status(cause.response)
        if isinstance(cause, httpx.TooManyRedirects):
            return "redirected in a circle"
    if isinstance(error, UnicodeError):
        return "its key, of OPENAI_API_KEY or --api-key, has letters that no header can hold"
    if isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError)):
        return BROKE_OFF
    return one_line(str(error)) or type(error).__name__


def _status(response: httpx.Response) -> str:
    code = response.status_code
    if code in (401, 403):
        return f"unauthorised (HTTP {code}); set OPENAI_API_KEY to the server's key"
    if code == 404:
        return f"not OpenAI's protocol (HTTP 404 at {response.url.path})"
    return f"HTTP {code} {response.reason_phrase}".strip()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and so on; members of groups as well."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop(0)
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        yield each
        left += [*getattr(each, "exceptions", ()), each.__cause__, each.__context__]
