"""Vanilla once more, untimed: how far its own answers differ, and how sure it was of each token."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx

from ..cli.options import Options
from ..cli.sweep import Condition
from ..datasets import Prompt
from ..records.jsontext import parsed, writable
from ..records.requests import ControlRecord, RequestRecord
from ..servers.arms import Arm
from .answer import texts_of
from .client import PATH, Driver, Messages, opening, user

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
    async with driver.clients(condition.concurrency) as clients:

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
    messages = opening(prompt)
    for turn, text in enumerate(prompt.turns):
        record = measured.get((prompt.prompt_id, turn))
        if record is None or record.error:
            return
        messages = [*messages, *user(text)]
        yield messages, record
        messages = [*messages, {"role": "assistant", "content": record.text}]


async def _again(
    client: httpx.AsyncClient, driver: Driver, messages: Messages, record: RequestRecord
) -> ControlRecord | None:
    """None where the request fails: what has no control is told of in the report."""
    body = driver.body(messages, driver.options.output_len, record.temperature)
    try:
        answer = await client.post(PATH, json=body | {"logprobs": True, "top_logprobs": 2})
        return _record(parsed(answer.raise_for_status().content), record)
    except Exception:  # of the transport, or of an odd answer
        return None


def _record(answer: Any, record: RequestRecord) -> ControlRecord:
    choice = answer["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    said = {kind: writable(text) for kind, text in texts_of(choice["message"]).items()}
    return ControlRecord(
        prompt_id=record.prompt_id,
        turn=record.turn,
        concurrency=record.concurrency,
        temperature=record.temperature,
        text=said.pop("content", ""),
        **said,
        token_ids=choice.get("token_ids"),
        ends=ends_of(tokens),
        margins=[margin_of(token) for token in tokens],
    )


def ends_of(tokens: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where each token ends in the text, in characters; a character may take several tokens."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    ends, length = [], 0
    for token in tokens:
        told = token.get("bytes")
        bytes_ = bytes(told) if told is not None else token["token"].encode()
        length += len(decoder.decode(bytes_))
        ends.append(length)
    return ends


def margin_of(token: Mapping[str, Any]) -> float | None:
    """Log-probability of the token less that of the best other one, in nats."""
    tops = token.get("top_logprobs") or []
    others = [top["logprob"] for top in tops if top["token"] != token["token"]]
    return float(token["logprob"] - max(others)) if others else None
