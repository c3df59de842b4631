"""Connections are used again at once, and not after they were idle: servers close those.

What met one that was closed just then is sent again; what a new one does not answer is not.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from eval.servers import http
from eval.servers.http import Address


class _Kept(BaseHTTPRequestHandler):
    """Answers with the client's port, which is the connection's."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = str(self.client_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", _Kept)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_idle_connections_are_not_used_again(url: str) -> None:
    with Address(url).client() as client:
        first, second = client.get("/").text, client.get("/").text
        time.sleep(http._IDLE_SECONDS + 0.2)
        third = client.get("/").text
    assert first == second != third


class _Reset(_Kept):
    """Answers so many requests a connection, and resets it at the next, unread."""

    answers = 1

    def handle_one_request(self) -> None:
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen <= self.answers:
            super().handle_one_request()
            return
        self.connection.recv(1, socket.MSG_PEEK)  # until it has come
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        pass


async def _asked(url: str, times: int) -> list[str]:
    async with Address(url).async_client(10) as client:
        return [(await client.get("/")).text for _ in range(times)]


@pytest.mark.parametrize("url", [_Reset], indirect=True)
def test_a_request_on_a_connection_that_was_just_closed_is_sent_again(url: str) -> None:
    answers = asyncio.run(_asked(url, 3))
    assert len(set(answers)) == 3  # each on a connection of its own


class _Dead(_Reset):
    answers = 0


@pytest.mark.parametrize("url", [_Dead], indirect=True)
def test_a_new_connection_that_breaks_off_is_a_failure(url: str) -> None:
    with pytest.raises(httpx.ReadError):
        asyncio.run(_asked(url, 1))
