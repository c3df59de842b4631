"""A real `vllm serve` for tests, and the completions that it gives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from eval.servers.engines.vllm import executable
from eval.servers.server import Server, choose_port, running

from .telling import client_of

ROOT = Path(__file__).resolve().parents[2]
COMMON = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--seed", "0")
# Small blocks, so that short prompts leave whole ones behind; few, as several servers run at once.
THINKING = {"reasoning_start_str": "<|im_start|>assistant\n", "reasoning_end_str": ". So, "}
COMMON += ("--reasoning-config", json.dumps(THINKING))  # for budgets of thinking, where asked for
EMBEDDINGS = "--enable-prompt-embeds"
BLOCKS = ("--block-size", "32", "--num-gpu-blocks-override", "320")


@dataclass(frozen=True)
class Completion:
    """One answer: token ids, their log-probabilities, and why it ended."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str


class Client:
    """Completions of a server, several at a time."""

    def __init__(self, server: Server, model: str) -> None:
        self.http = client_of(server)
        self.model = model

    def complete(self, prompt: str, **params: Any) -> Completion:
        body = {"model": self.model, "prompt": prompt, "return_token_ids": True, **params}
        reply = self.http.post("/v1/completions", json=body)
        assert reply.status_code == 200, reply.text
        choice = reply.json()["choices"][0]
        logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or ()
        return Completion(tuple(choice["token_ids"]), tuple(logprobs), choice["finish_reason"])

    def text(self, prompt: str, **params: Any) -> str:
        """The text alone, or the error."""
        reply = self.http.post(
            "/v1/completions", json={"model": self.model, "prompt": prompt, **params}
        )
        return str(reply.json()["choices"][0]["text"] if reply.is_success else reply.text)

    def complete_all(
        self, prompts: Sequence[str], concurrency: int = 1, **params: Any
    ) -> list[Completion]:
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(lambda prompt: self.complete(prompt, **params), prompts))

    def forget_prefixes(self) -> None:
        """Empty the prefix cache (in vLLM's development mode)."""
        assert self.http.post("/reset_prefix_cache").status_code == 200

    def counter(self, name: str) -> float:
        text = self.http.get("/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )


Plain = tuple[Client, list[Completion]]
"""A server without speculation, and its greedy answers."""


def tokens(completions: Sequence[Completion]) -> list[tuple[int, ...]]:
    return [completion.tokens for completion in completions]


def accepted(client: Client) -> float:
    return client.counter("vllm:spec_decode_num_accepted_tokens_total")


@contextmanager
def serve(
    target: Path, log: Path, speculative: dict[str, Any] | None = None, *flags: str, **env: str
) -> Iterator[Client]:
    """Serve the target in float32, with a speculative config or without."""
    port = choose_port(None)
    line = [executable(), "serve", str(target), "--port", str(port), *COMMON, *BLOCKS, *flags]
    if speculative is not None:
        line += ["--speculative-config", json.dumps(speculative)]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ, "HF_HUB_OFFLINE": "1"}
    settings |= {"PYTHONPATH": str(ROOT), **env}  # where proposers of tests are found
    with running(line, settings, log, port, 900, lambda text: None) as server:
        yield Client(server, str(target))
