"""Connections are used again at once, and not after they were idle: servers close those."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Kept) as server:
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
