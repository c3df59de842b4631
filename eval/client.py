"""Drives the prompts through the OpenAI client and makes one record per request."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai

from .conditions import Condition, Place
from .datasets import Prompt
from .errors import one_line
from .metrics import tpot_ms
from .options import Options
from .readers import Reader
from .records import RequestRecord, sha256

Messages = list[dict[str, str]]
STANDARD = {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
# As many connections as requests in flight. Any: the library brings an httpx of its own.
_UNLIMITED: Any = httpx.Limits(max_connections=None, max_keepalive_connections=None)
Done = Callable[[RequestRecord], None]

WARM_UP = (
    "Name three things that float on water and say why they do.",
    "Repeat this twice: the grey cat sat on the grey wall, and the grey wall sat on the hill.",
    "Count from one to twenty in words.",
)


@dataclass
class _Seen:
    """What a stream has shown so far."""

    started: float
    first: float | None = None
    text: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    request_id: str | None = None
    usage: Any = None
    token_ids: list[int] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def take(self, chunk: dict[str, Any]) -> None:
        """Read one chunk of an answer in the OpenAI format."""
        if error := chunk.get("error"):
            raise ValueError(f"the server sent an error: {json.dumps(error)}")
        self.request_id = chunk.get("id") or self.request_id
        self.usage = chunk.get("usage") or self.usage
        self.extra |= {k: v for k, v in chunk.items() if k not in STANDARD and v is not None}
        for choice in chunk.get("choices", ()):
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            if ids := choice.get("token_ids"):
                self.token_ids += ids
                self.chunk_tokens.append(len(ids))
            if content := choice["delta"].get("content"):
                self.first = self.first or time.perf_counter()
                self.text.append(content)


class Driver:
    """Sends prompts to one server, or to its replicas in turn; repeats no measured request."""

    def __init__(self, urls: Sequence[str], model: str, options: Options, reader: Reader) -> None:
        self.urls, self.model, self.options, self.reader = urls, model, options, reader

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[list[openai.AsyncOpenAI]]:
        """A client for each replica; a prompt stays with one, for its prefix cache."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self._client(url)) for url in self.urls]

    def _client(self, url: str) -> openai.AsyncOpenAI:
        local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        return openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            max_retries=0,
            timeout=self.options.request_timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=not local,  # no proxy stands before a server of this machine
                verify=url.startswith("https"),  # reading certificates takes a while
                limits=_UNLIMITED,
            ),
        )

    async def warm_up(self, condition: Condition) -> None:
        """Send a few requests that no number counts; their errors show again when measured."""
        async with self.clients() as clients:
            count = max(2, condition.concurrency, 2 * len(clients))
            calls = [
                self._ask(clients[i % len(clients)], user(WARM_UP[i % 3]), 16, condition)
                for i in range(count)
            ]
            await asyncio.gather(*calls, return_exceptions=True)

    async def drive(
        self,
        prompts: Sequence[Prompt],
        place: Place,
        done: Done,
        known: Mapping[tuple[str, int], RequestRecord] | None = None,
    ) -> None:
        """Run all prompts, at most ``concurrency`` at a time; ``done`` gets every record.

        Turns in ``known`` are not sent; their answers go before those that are.
        """
        gate = asyncio.Semaphore(place.condition.concurrency)
        async with self.clients() as clients:

            async def one(index: int, prompt: Prompt) -> None:
                async with gate:
                    client = clients[index % len(clients)]
                    await self._converse(client, prompt, place, done, known or {})

            await asyncio.gather(*(one(i, prompt) for i, prompt in enumerate(prompts)))

    async def _converse(
        self,
        client: openai.AsyncOpenAI,
        prompt: Prompt,
        place: Place,
        done: Done,
        known: Mapping[tuple[str, int], RequestRecord],
    ) -> None:
        """The turns of a prompt, each with the answers before it; ends at the first error."""
        messages: Messages = []
        for turn, text in enumerate(prompt.turns):
            messages += user(text)
            record = known.get((prompt.prompt_id, turn))
            if record is None:
                record = await self._record(client, messages, _blank(prompt, turn, place), place)
                done(record)
            if record.error:
                return
            messages.append({"role": "assistant", "content": record.text})

    async def _record(
        self, client: openai.AsyncOpenAI, messages: Messages, record: RequestRecord, place: Place
    ) -> RequestRecord:
        record.started, started = time.time(), time.perf_counter()
        try:
            seen = await self._ask(client, messages, self.options.output_len, place.condition)
        except Exception as error:  # of whatever transport the library uses
            record.error = one_line(f"{type(error).__name__}: {error}")[:400]
            record.latency_ms = 1e3 * (time.perf_counter() - started)
            return record
        self._fill(record, seen, time.perf_counter())
        return record

    async def _ask(
        self, client: openai.AsyncOpenAI, messages: Messages, tokens: int, condition: Condition
    ) -> _Seen:
        seen = _Seen(time.perf_counter())
        create: Any = client.chat.completions.with_streaming_response.create
        # Read raw: the library's models of each chunk cost more than all else that is done here.
        async with create(
            model=self.model,
            messages=messages,
            max_tokens=tokens,
            temperature=condition.temperature,
            seed=self.options.seed,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=self.reader.request,
        ) as response:
            async for line in response.iter_lines():
                if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
                    seen.take(json.loads(data))
        if seen.finish_reason is None:
            raise ValueError("the stream ended before the answer did")
        return seen

    def _fill(self, record: RequestRecord, seen: _Seen, ended: float) -> None:
        record.latency_ms = 1e3 * (ended - seen.started)
        record.ttft_ms = 1e3 * (seen.first - seen.started) if seen.first else None
        record.text, record.finish_reason = "".join(seen.text), seen.finish_reason
        record.text_sha256, record.request_id = sha256(record.text), seen.request_id
        record.token_ids = seen.token_ids or None
        record.chunk_tokens = seen.chunk_tokens or None
        if seen.usage is None:
            record.error = "the server sent no usage, so tokens cannot be counted"
            return
        record.prompt_tokens = seen.usage["prompt_tokens"]
        record.completion_tokens = seen.usage["completion_tokens"]
        record.tpot_ms = tpot_ms(record.latency_ms, record.ttft_ms, record.completion_tokens)
        if stats := self.reader.of_response(seen.extra):
            record.steps, record.drafted = stats.steps, stats.drafted
            record.accepted, record.per_position = stats.accepted, stats.per_position
            record.step_accepted = stats.step_accepted


def user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _blank(prompt: Prompt, turn: int, place: Place) -> RequestRecord:
    return RequestRecord(
        arm=place.arm,
        round=place.round,
        concurrency=place.condition.concurrency,
        temperature=place.condition.temperature,
        window=place.window,
        prompt_id=prompt.prompt_id,
        category=prompt.category,
        turn=turn,
    )
