"""A client of a test's own server; when the server dies, the failure says what its log does."""

from __future__ import annotations

import httpx

from eval.servers.logs import last_words
from eval.servers.server import Server

# No connection is kept: servers close those that are idle for 5 s, now and then just as the next
# request is sent on one.
_LIMITS = httpx.Limits(max_keepalive_connections=0)


class _Telling(httpx.HTTPTransport):
    def __init__(self, server: Server) -> None:
        super().__init__(limits=_LIMITS)
        self.server = server

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return super().handle_request(request)
        except httpx.TransportError as error:
            self.server.check_process(patience=10)  # raises with the exit code and last words
            log = self.server.log
            words = last_words(log, 8) if log else ""
            raise AssertionError(f"{error}, while the server lives: {words}") from error


def client_of(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=600, transport=_Telling(server))
