"""A server whose every byte a test chooses: it answers as no engine of the scripts does."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

METRICS = "# TYPE vllm:generation_tokens counter\nvllm:generation_tokens_total 0.0\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3}
Chat = Callable[[dict[str, Any]], list[bytes]]


def event(told: Any) -> bytes:
    """One event, as most servers frame it."""
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n".encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"id": "c", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def stream(*chunks: Any, usage: Any = USAGE) -> list[bytes]:
    """A whole answer: role, chunks, end, usage; bytes among the chunks go as they are."""
    head = event(delta(role="assistant", content=""))
    body = [each if isinstance(each, bytes) else event(each) for each in chunks]
    return [
        head,
        *body,
        event(delta("stop")),
        event({"choices": [], "usage": usage}),
        b"data: [DONE]\n\n",
    ]


def content(*texts: str) -> list[dict[str, Any]]:
    """A chunk for each text."""
    return [delta(content=text) for text in texts]


@contextmanager
def answering(
    chat: Chat,
    *,
    key: str | None = None,
    certificate: Path | None = None,
    pages: dict[str, bytes] | None = None,
    kind: str = "text/event-stream",
) -> Iterator[str]:
    """The address of a server that answers a request with the parts that ``chat`` makes of it.

    ``pages``: what GET finds beside the usual; ``certificate``: a PEM file with its private key.
    """
    found = {
        "/v1/models": json.dumps({"data": [{"id": "m", "max_model_len": 4096}]}).encode(),
        "/metrics": METRICS.encode(),
        "/health": b"",
    } | (pages or {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refused(self) -> bool:
            if key is None or self.headers.get("Authorization") == f"Bearer {key}":
                return False
            self.send(401, b'{"error": "Unauthorized"}')
            return True

        def do_GET(self) -> None:
            if not self.refused():
                self.send(200 if self.path in found else 404, found.get(self.path, b""))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.refused():
                return
            if self.path != "/v1/chat/completions":
                self.send(404, b"")
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Connection", "close")
            self.end_headers()
            for part in chat(body):
                self.wfile.write(part)
                self.wfile.flush()
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield f"http{'s' * bool(certificate)}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
