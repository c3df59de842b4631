"""Sends the prompts to a server and makes one record per request, whatever comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from ..cli.errors import one_line
from ..cli.options import Options
from ..cli.sweep import Condition, Place
from ..datasets import Prompt
from ..numbers.metrics import tpot_ms
from ..records.jsontext import writable
from ..records.requests import RequestRecord, sha256
from ..servers.http import Address, why
from ..servers.readers import Reader
from ..servers.sampling import sent
from .answer import Answer, FailedError
from .events import EventReader

Messages = list[dict[str, str]]
Done = Callable[[RequestRecord], None]
PATH = "/v1/chat/completions"
CUT = "the stream ended before the answer did"
LONGEST_ERROR = 400  # characters
PER_CLIENT = 32  # requests in flight: a client looks at all its connections at each request's end

WARM_UP = (
    "Name three things that float on water and say why they do.",
    "Repeat this twice: the grey cat sat on the grey wall, and the grey wall sat on the hill.",
    "Count from one to twenty in words.",
)


class Driver:
    """Sends prompts to one server, or to its replicas in turn; repeats no measured request."""

    def __init__(
        self, addresses: Sequence[Address], model: str, options: Options, reader: Reader
    ) -> None:
        self.addresses, self.model = list(addresses), model
        self.options, self.reader = options, reader

    @asynccontextmanager
    async def clients(self, concurrency: int) -> AsyncIterator[list[httpx.AsyncClient]]:
        """Clients, replica after replica; a prompt stays with one, for its prefix cache.

        More than one of a replica where many requests are in flight: see ``PER_CLIENT``.
        """
        seconds, rounds = self.options.request_timeout, -(-concurrency // PER_CLIENT)
        async with AsyncExitStack() as stack:
            made = [address.async_client(seconds) for address in self.addresses * rounds]
            yield [await stack.enter_async_context(client) for client in made]

    async def warm_up(self, condition: Condition) -> None:
        """Send a few requests that no number counts; their errors show again when measured."""
        async with self.clients(condition.concurrency) as clients:
            count = max(2, condition.concurrency, 2 * len(self.addresses))
            heat = condition.temperature
            calls = [
                self._ask(clients[i % len(clients)], self.body(user(WARM_UP[i % 3]), 16, heat))
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
        async with self.clients(place.condition.concurrency) as clients:

            async def one(index: int, prompt: Prompt) -> None:
                async with gate:
                    client = clients[index % len(clients)]
                    await self._converse(client, prompt, place, done, known or {})

            await asyncio.gather(*(one(i, prompt) for i, prompt in enumerate(prompts)))

    async def _converse(
        self,
        client: httpx.AsyncClient,
        prompt: Prompt,
        place: Place,
        done: Done,
        known: Mapping[tuple[str, int], RequestRecord],
    ) -> None:
        """The turns of a prompt, each with the answers before it; ends at the first error."""
        messages = opening(prompt)
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
        self, client: httpx.AsyncClient, messages: Messages, record: RequestRecord, place: Place
    ) -> RequestRecord:
        """The request and all that is made of its answer: what is odd there costs this one only."""
        record.started, started = time.time(), time.perf_counter()
        told, answer = record.model_copy(), None
        try:
            body = self.body(messages, self.options.output_len, place.condition.temperature)
            answer = await self._ask(client, body | self._salted(place))
            self._fill(told, answer, time.perf_counter())
        except Exception as error:  # of the transport, the server, or what it sent
            told = told if answer else record
            told.error, told.answered = (
                _told(error),
                answer is not None or isinstance(error, ValueError),
            )
            told.latency_ms = told.latency_ms or 1e3 * (time.perf_counter() - started)
        return told

    async def _ask(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Answer:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        events, answer = EventReader(), Answer(time.perf_counter())
        async with (
            asyncio.timeout(self.options.request_timeout),
            client.stream("POST", PATH, json=body) as response,
        ):
            await refuse(response)
            async for part in response.aiter_bytes():
                for data in events.feed(part):
                    answer.take(data)
            _end(answer, events)
        if not answer.parts:
            kind = response.headers.get("Content-Type", "nothing")
            raise FailedError(f"the answer is no stream of events but {kind}")
        if answer.finish_reason is None and not answer.done:
            raise FailedError(CUT)
        return answer

    def body(self, messages: Messages, tokens: int, temperature: float) -> dict[str, Any]:
        """What every request has alike."""
        return {
            "model": self.model,
            "messages": messages,
            "max_tokens": tokens,
            "temperature": temperature,
            "seed": self.options.seed,
            **sent(self.options.sampling),
            **(self.reader.request or {}),
        }

    def _salted(self, place: Place) -> dict[str, str]:
        """The salt of one pass over the prompts: what it answered tells another nothing."""
        salt, condition = self.options.cache_salt, place.condition
        pass_of = f"{place.round}-{condition.concurrency}-{condition.temperature:g}"
        return {"cache_salt": f"{salt}-{pass_of}"} if salt else {}

    def _fill(self, record: RequestRecord, answer: Answer, ended: float) -> None:
        """Raise ``ValueError`` where the answer is odd; what could be read until then stays."""
        record.latency_ms = 1e3 * (ended - answer.started)
        record.ttft_ms = 1e3 * (answer.first - answer.started) if answer.first else None
        record.first = answer.kind
        said, whole = answer.said()
        record.text, record.reasoning = said["content"], said["reasoning"]
        record.tool_calls, record.refusal = said["tool_calls"], said["refusal"]
        record.text_sha256 = sha256(record.text)
        record.finish_reason, record.request_id = answer.finish_reason, answer.request_id
        if not whole:
            raise ValueError("the answer has half a surrogate pair, which is no text (now U+FFFD)")
        record.prompt_tokens = answer.count("prompt_tokens")
        record.completion_tokens = answer.count("completion_tokens")
        record.token_ids = answer.token_ids or None
        record.chunk_tokens = answer.chunk_tokens or None
        record.tpot_ms = tpot_ms(record.latency_ms, record.ttft_ms, record.completion_tokens)
        if stats := self.reader.of_response(answer.extra):
            record.steps, record.drafted = stats.steps, stats.drafted
            record.accepted, record.per_position = stats.accepted, stats.per_position
            record.step_accepted = stats.step_accepted


def _end(answer: Answer, events: EventReader) -> None:
    """Take what the stream ended with; a part of an event is none."""
    for data in events.end():
        try:
            answer.take(data)
        except ValueError:
            raise FailedError(CUT) from None


async def refuse(response: httpx.Response) -> None:
    """Raise the error that the server answers with, in its own words."""
    if response.is_error:
        text = (await response.aread()).decode("utf-8", "replace")
        try:
            response.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise FailedError(f"{why(error)}: {text}") from None


def user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def opening(prompt: Prompt) -> Messages:
    """What stands before the first turn."""
    return [{"role": "system", "content": prompt.system}] if prompt.system else []


def _told(error: Exception) -> str:
    """The error in one line, by its kind."""
    said = str(error) if isinstance(error, (FailedError, ValueError)) else why(error)
    name = "" if isinstance(error, FailedError) else f"{type(error).__name__}: "
    return writable(one_line(f"{name}{said}"))[:LONGEST_ERROR]


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
