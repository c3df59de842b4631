"""Drives the prompts through the OpenAI client and makes one record per request."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from .datasets import Prompt
from .errors import one_line
from .metrics import tpot_ms
from .options import Options
from .readers import Reader
from .records import RequestRecord, sha256

Messages = list[dict[str, str]]

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
    extra: dict[str, Any] = field(default_factory=dict)

    def take(self, chunk: Any) -> None:
        self.request_id = chunk.id
        self.extra |= {k: v for k, v in (chunk.model_extra or {}).items() if v is not None}
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.delta.content:
                self.first = self.first or time.perf_counter()
                self.text.append(choice.delta.content)


class Driver:
    """Sends prompts of one arm to one server; never repeats a measured request."""

    def __init__(self, url: str, model: str, options: Options, reader: Reader) -> None:
        self.url, self.model, self.options, self.reader = url, model, options, reader

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1",
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            max_retries=0,
            timeout=self.options.request_timeout,
        )

    async def warm_up(self) -> None:
        """Send a few requests that no number counts; their errors show again when measured."""
        async with self._client() as client:
            texts = [WARM_UP[i % 3] for i in range(max(2, self.options.concurrency))]
            calls = [self._ask(client, [{"role": "user", "content": t}], 16) for t in texts]
            await asyncio.gather(*calls, return_exceptions=True)

    async def drive(
        self,
        prompts: Sequence[Prompt],
        arm: str,
        round_: int,
        done: Callable[[RequestRecord], None],
    ) -> None:
        """Run all prompts, at most ``concurrency`` at a time; ``done`` gets every record."""
        gate = asyncio.Semaphore(self.options.concurrency)
        async with self._client() as client:

            async def one(prompt: Prompt) -> None:
                async with gate:
                    await self._converse(client, prompt, arm, round_, done)

            await asyncio.gather(*(one(prompt) for prompt in prompts))

    async def _converse(
        self,
        client: openai.AsyncOpenAI,
        prompt: Prompt,
        arm: str,
        round_: int,
        done: Callable[[RequestRecord], None],
    ) -> None:
        """The turns of a prompt, each with the answers before it; ends at the first error."""
        messages: Messages = []
        for turn, text in enumerate(prompt.turns):
            messages.append({"role": "user", "content": text})
            record = RequestRecord(
                arm=arm,
                round=round_,
                prompt_id=prompt.prompt_id,
                category=prompt.category,
                turn=turn,
            )
            started = time.perf_counter()
            try:
                seen = await self._ask(client, messages, self.options.output_len)
            except (openai.OpenAIError, httpx.HTTPError, ValueError, OSError) as error:
                record.error = one_line(f"{type(error).__name__}: {error}")[:400]
                record.latency_ms = 1e3 * (time.perf_counter() - started)
                done(record)
                return
            self._fill(record, seen, time.perf_counter())
            done(record)
            messages.append({"role": "assistant", "content": record.text})

    async def _ask(self, client: openai.AsyncOpenAI, messages: Messages, tokens: int) -> _Seen:
        seen = _Seen(time.perf_counter())
        stream: Any = await client.chat.completions.create(  # type: ignore[call-overload]
            model=self.model,
            messages=messages,
            max_tokens=tokens,
            temperature=self.options.temperature,
            seed=self.options.seed,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=self.reader.request,
        )
        async for chunk in stream:
            seen.take(chunk)
        if seen.finish_reason is None:
            raise ValueError("the stream ended before the answer did")
        return seen

    def _fill(self, record: RequestRecord, seen: _Seen, ended: float) -> None:
        record.latency_ms = 1e3 * (ended - seen.started)
        record.ttft_ms = 1e3 * (seen.first - seen.started) if seen.first else None
        record.text, record.finish_reason = "".join(seen.text), seen.finish_reason
        record.text_sha256, record.request_id = sha256(record.text), seen.request_id
        if seen.usage is None:
            record.error = "the server sent no usage, so tokens cannot be counted"
            return
        record.prompt_tokens = seen.usage.prompt_tokens
        record.completion_tokens = seen.usage.completion_tokens
        record.tpot_ms = tpot_ms(record.latency_ms, record.ttft_ms, record.completion_tokens)
        if stats := self.reader.of_response(seen.extra):
            record.steps, record.drafted = stats.steps, stats.drafted
            record.accepted, record.per_position = stats.accepted, stats.per_position
