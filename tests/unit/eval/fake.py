"""A scripted server with the parts of vLLM's HTTP interface that the evaluation reads."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

METRIC = "vllm:spec_decode_num_"


@dataclass
class Script:
    """Each request answers ``words`` and claims the histogram of accepted tokens per step."""

    words: list[str] = field(default_factory=lambda: ["one", " two", " three", " four", " five"])
    histogram: list[int] | None = field(default_factory=lambda: [0, 0, 1, 0])
    nodes_per_step: int = 3
    finish_reason: str = "stop"
    max_model_len: int = 1000
    prompt_tokens: int = 7
    fail: set[str] = field(default_factory=set)
    delay: float = 0.0  # seconds before an answer
    strangers: int = 0  # tokens that another client seems to have generated
    seen: list[dict[str, Any]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, count: int) -> None:
        self.totals[name] = self.totals.get(name, 0) + count

    def count(self, name: str) -> None:
        """The server's sums after a request, which it calls ``name``."""
        self.add("vllm:generation_tokens_total", len(self.words) + self.strangers)
        for j, steps in enumerate(self.histogram or []):
            self.add(f"{METRIC}drafts_total", steps)
            self.add(f"{METRIC}draft_tokens_total", steps * self.nodes_per_step)
            self.add(f"{METRIC}accepted_tokens_total", steps * j)
            for i in range(j):
                self.add(f"{METRIC}accepted_tokens_per_pos_total/{i}", steps)

    def speculation(self) -> dict[str, Any] | None:
        if self.histogram is None:
            return None
        steps = sum(self.histogram)
        return {
            "num_spec_steps": steps,
            "num_draft_tokens": steps * self.nodes_per_step,
            "num_accepted_draft_tokens": sum(j * n for j, n in enumerate(self.histogram)),
            "acceptance_histogram": self.histogram,
        }

    def ends(self, body: dict[str, Any], usage: dict[str, int]) -> Iterator[dict[str, Any]]:
        """The chunks after the text: what they hold beside the usual."""
        extra = {"metrics": {"speculative_decoding": s}} if (s := self.speculation()) else {}
        yield {"usage": usage, **extra}

    def exposition(self) -> str:
        """Two engines that did half each, and a created sample that must not be counted."""
        self.totals.setdefault("vllm:generation_tokens_total", 0)
        lines = []
        for key, value in self.totals.items():
            name, _, position = key.partition("/")
            place = f',position="{position}"' if position else ""
            lines.append(f"# TYPE {name.removesuffix('_total')} counter")
            for engine, part in ((0, value // 2), (1, value - value // 2)):
                labels = f'engine="{engine}",model_name="fake"{place}'
                lines.append(f"{name}{{{labels}}} {part}.0")
                lines.append(f"{name.removesuffix('_total')}_created{{{labels}}} 1.7e9")
        return "\n".join(lines) + "\n"


class _Handler(BaseHTTPRequestHandler):
    script: Script

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _send(self, body: str, kind: str = "application/json", status: int = 200) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(ConnectionError):  # a client that was stopped has gone
            self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._send(self.script.exposition(), "text/plain")
        elif self.path == "/v1/models":
            model = {"id": "fake", "max_model_len": self.script.max_model_len}
            self._send(json.dumps({"data": [model]}))
        else:
            self._send("{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            words = sum(len(m["content"].split()) for m in body["messages"])
            self._send(json.dumps({"count": words}))
            return
        self.script.seen.append(body)
        last = body["messages"][-1]["content"]
        if last in self.script.fail:
            self._send('{"error": {"message": "scripted failure"}}', status=500)
            return
        time.sleep(self.script.delay)
        name = f"chat-{len(self.script.seen)}"
        self.script.count(name)
        chunks = "".join(f"data: {chunk}\n\n" for chunk in self._chunks(name, body))
        self._send(chunks, "text/event-stream")

    def _chunks(self, name: str, body: dict[str, Any]) -> Iterator[str]:
        script = self.script
        base = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": "fake"}
        for word in script.words:
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            yield json.dumps({**base, "choices": [choice]})
        choice = {"index": 0, "delta": {}, "finish_reason": script.finish_reason}
        yield json.dumps({**base, "choices": [choice]})
        done, asked = len(script.words), script.prompt_tokens
        usage = {"prompt_tokens": asked, "completion_tokens": done, "total_tokens": asked + done}
        for last in script.ends(body, usage):
            yield json.dumps({**base, "choices": [], **last})
        yield "[DONE]"


@contextmanager
def serving(script: Script, port: int = 0) -> Iterator[str]:
    """The address of a server that follows ``script``."""
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
