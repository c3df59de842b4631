"""Vanilla once more, untimed: how far its own answers differ, and how sure it was of each token."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import openai

from .arms import Arm
from .client import Driver, Messages, user
from .conditions import Condition
from .datasets import Prompt
from .options import Options
from .records import ControlRecord, RequestRecord

Key = tuple[str, int]


def wanted(options: Options, arms: Sequence[Arm], arm: Arm, condition: Condition) -> bool:
    """Whether an arm gets a control: a greedy vanilla that others are compared with."""
    compared = arm.name == "vanilla" and len(arms) > 1
    return compared and not options.no_control and not condition.temperature


async def control(
    driver: Driver,
    prompts: Sequence[Prompt],
    condition: Condition,
    measured: Mapping[Key, RequestRecord],
    done: Callable[[ControlRecord], None],
    skip: Iterable[Key] = (),
) -> None:
    """Ask every turn again that ``measured`` holds, with the log-probabilities of two tokens.

    As many requests are in flight as when measured; the turns before are the measured ones.
    """
    gate, known = asyncio.Semaphore(condition.concurrency), set(skip)
    async with driver.clients() as clients:

        async def one(index: int, prompt: Prompt) -> None:
            async with gate:
                for messages, record in _turns(prompt, measured):
                    if record.key not in known:
                        client = clients[index % len(clients)]
                        if found := await _again(client, driver, messages, record):
                            done(found)

        await asyncio.gather(*(one(i, prompt) for i, prompt in enumerate(prompts)))


def _turns(
    prompt: Prompt, measured: Mapping[Key, RequestRecord]
) -> Iterable[tuple[Messages, RequestRecord]]:
    messages: Messages = []
    for turn, text in enumerate(prompt.turns):
        record = measured.get((prompt.prompt_id, turn))
        if record is None or record.error:
            return
        messages = [*messages, *user(text)]
        yield messages, record
        messages = [*messages, {"role": "assistant", "content": record.text}]


async def _again(
    client: openai.AsyncOpenAI, driver: Driver, messages: Messages, record: RequestRecord
) -> ControlRecord | None:
    """None where the request fails: what has no control is told of in the report."""
    try:
        return _record(await _ask(client, driver, messages, record), record)
    except Exception:  # of whatever transport the library uses
        return None


async def _ask(
    client: openai.AsyncOpenAI, driver: Driver, messages: Messages, record: RequestRecord
) -> Any:
    return await client.chat.completions.create(
        model=driver.model,
        messages=messages,  # type: ignore[arg-type]
        max_tokens=driver.options.output_len,
        temperature=record.temperature,
        seed=driver.options.seed,
        logprobs=True,
        top_logprobs=2,
        extra_body=driver.reader.request,
    )


def _record(answer: Any, record: RequestRecord) -> ControlRecord:
    choice = answer.choices[0]
    tokens = choice.logprobs.content or [] if choice.logprobs else []
    return ControlRecord(
        prompt_id=record.prompt_id,
        turn=record.turn,
        concurrency=record.concurrency,
        temperature=record.temperature,
        text=choice.message.content or "",
        token_ids=(choice.model_extra or {}).get("token_ids"),
        ends=ends_of(tokens),
        margins=[margin_of(token) for token in tokens],
    )


def ends_of(tokens: Sequence[Any]) -> list[int]:
    """Where each token ends in the text, in characters; a character may take several tokens."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    ends, length = [], 0
    for token in tokens:
        bytes_ = bytes(token.bytes) if token.bytes is not None else token.token.encode()
        length += len(decoder.decode(bytes_))
        ends.append(length)
    return ends


def margin_of(token: Any) -> float | None:
    """Log-probability of the token less that of the best other one, in nats."""
    others = [top.logprob for top in token.top_logprobs if top.token != token.token]
    return float(token.logprob - max(others)) if others else None
