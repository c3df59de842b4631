"""A real SGLang server on the CPU for tests, and the answers that it gives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from eval.servers.server import Server, choose_port, running

from ..telling import client_of

ROOT = Path(__file__).resolve().parents[3]
OWN = ROOT / ".venv-sglang" / "bin" / "python"  # on a GPU SGLang has an environment of its own
PYTHON = str(OWN) if OWN.exists() else sys.executable
CPU = ("--device", "cpu", "--attention-backend", "torch_native", "--disable-cuda-graph")
COMMON = ("--dtype", "float32", "--context-length", "1024", "--enable-metrics", "--sleep-on-idle")
COMMON += ("--enable-custom-logit-processor",)
BESIDE = ("custom_logit_processor", "cache_salt")
"""What a request says beside its sampling parameters."""


@dataclass(frozen=True)
class Answer:
    """Token ids, their log-probabilities if asked for, and what SGLang says of the request."""

    tokens: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    meta: dict[str, Any]


class Client:
    """Answers of a server, several at a time."""

    def __init__(self, server: Server) -> None:
        self.http = client_of(server)

    def generate(self, prompt: str, max_new_tokens: int, **params: Any) -> Answer:
        """``logprobs=n`` asks for log-probabilities; the rest are sampling parameters, but for
        :data:`BESIDE`."""
        top = params.pop("logprobs", None)
        beside = {name: value for name in BESIDE if (value := params.pop(name, None))}
        sampling = {"max_new_tokens": max_new_tokens, "temperature": 0, **params}
        body: dict[str, Any] = {"text": prompt, "sampling_params": sampling, **beside}
        if top is not None:
            body |= {"return_logprob": True, "top_logprobs_num": top}
        reply = self.http.post("/generate", json=body)
        assert reply.status_code == 200, reply.text
        found = reply.json()
        meta = found["meta_info"]
        logprobs = tuple(row[0] for row in meta.get("output_token_logprobs", ()))
        return Answer(tuple(found["output_ids"]), found["text"], logprobs, meta)

    def generate_all(
        self, prompts: Sequence[str], concurrency: int, max_new_tokens: int, **params: Any
    ) -> list[Answer]:
        with ThreadPoolExecutor(concurrency) as pool:
            one = lambda prompt: self.generate(prompt, max_new_tokens, **params)  # noqa: E731
            return list(pool.map(one, prompts))

    def complete(self, prompt: str, **body: Any) -> str:
        """The text or the error, by OpenAI's API."""
        asked = {"model": "default", "prompt": prompt, "temperature": 0, **body}
        reply = self.http.post("/v1/completions", json=asked)
        return str(reply.json()["choices"][0]["text"] if reply.is_success else reply.text)

    def flush(self) -> None:
        """Empty the prefix cache."""
        assert self.http.post("/flush_cache", params={"timeout": 30}).status_code == 200

    def counter(self, name: str) -> float:
        text = self.http.get("/metrics/").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )


def tokens(answers: Sequence[Answer]) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in answers]


def acceptance_length(answers: Sequence[Answer]) -> float:
    """Pooled over the requests: 1 + accepted drafts / verification steps."""
    steps = sum(answer.meta["spec_verify_ct"] for answer in answers)
    return 1 + sum(answer.meta["spec_num_correct_drafts"] for answer in answers) / steps


@contextmanager
def serve(
    target: Path,
    log: Path,
    draft: Path | None,
    *flags: str,
    config: dict[str, Any] | None = None,
    **env: str,
) -> Iterator[Client]:
    """Serve the target in float32, with LONGSPEC if there is a draft."""
    port = choose_port(None)
    line = [PYTHON, "-m", "sglang.launch_server", "--model-path", str(target)]
    line += ["--port", str(port), *CPU, *COMMON, *flags]
    if draft is not None:
        line += ["--speculative-algorithm", "LONGSPEC"]
        line += ["--speculative-draft-model-path", str(draft)]
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **env}
    if config is not None:
        settings["LONGSPEC_CONFIG"] = json.dumps(config)
    with running(line, {**os.environ, **settings}, log, port, 900, lambda text: None) as server:
        yield Client(server)
