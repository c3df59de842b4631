"""An answer as vLLM sends it: in chunks, or whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from .script import BaseScript, Reply

TOP_LOGPROB = -0.1


def token_id(word: str) -> int:
    """The same number for the same word."""
    return zlib.crc32(word.encode()) % 50_000


def chunks(script: BaseScript, body: dict[str, Any], reply: Reply) -> Iterator[bytes]:
    """Events of the answer; the sums are counted before its last ones are sent."""
    base = {"id": reply.name, "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    yield _event(base, [_choice({"role": "assistant", "content": ""})], _prompt(body, reply))
    size = script.words_per_chunk
    for at in range(0, len(reply.words), size):
        words = reply.words[at : at + size]
        extra = _extra(script, body, words, at)
        yield _event(base, [_choice({"content": "".join(words)}, None, **extra)])
    script.count(reply)
    extra = _extra(script, body, [], 0)
    yield _event(base, [_choice({"content": ""}, reply.finish_reason, **extra)])
    asked = (body.get("stream_options") or {}).get("include_usage")
    for last in script.ends(body, reply, _usage(script, reply) if asked else None):
        yield _event(base, [], last)
    yield b"data: [DONE]\n\n"


def whole(script: BaseScript, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The answer without ``stream``."""
    script.count(reply)
    told: dict[str, Any] = {"id": reply.name, "object": "chat.completion", "created": 1}
    choice = _choice({}, reply.finish_reason, **_extra(script, body, reply.words, 0))
    del choice["delta"]
    choice["message"] = {"role": "assistant", "content": "".join(reply.words)}
    told |= {"model": "fake", "choices": [choice], "usage": None, **_prompt(body, reply)}
    for part in script.ends(body, reply, _usage(script, reply)):
        told |= part
    return told


def _event(
    base: dict[str, Any], choices: list[dict[str, Any]], more: dict[str, Any] | None = None
) -> bytes:
    told = json.dumps({**base, "choices": choices, **(more or {})}, separators=(",", ":"))
    return f"data: {told}\n\n".encode()


def _choice(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> dict[str, Any]:
    nothing = {"logprobs": None, "finish_reason": finish, "token_ids": None}
    return {"index": 0, "delta": delta, **nothing, **extra}


def _prompt(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    asked = body.get("return_token_ids")
    return {"prompt_token_ids": list(range(reply.prompt_tokens)) if asked else None}


def _extra(
    script: BaseScript, body: dict[str, Any], words: Sequence[str], at: int
) -> dict[str, Any]:
    """Token ids and log-probabilities of the words from place ``at`` on, if asked for."""
    extra: dict[str, Any] = {}
    if body.get("return_token_ids"):
        extra["token_ids"] = [token_id(word) for word in words]
    if body.get("logprobs"):
        top = body.get("top_logprobs") or 0
        content = [_logprob(script, word, at + i, top) for i, word in enumerate(words)]
        extra["logprobs"] = {"content": content}
    return extra


def _logprob(script: BaseScript, word: str, place: int, top: int) -> dict[str, Any]:
    second = TOP_LOGPROB - script.margins.get(place, script.margin)
    ranks = [(word, TOP_LOGPROB), (f"{word}~", second)]
    ranks += [(f"{word}~{i}", second - i) for i in range(1, top - 1)]
    return {**_token(*ranks[0]), "top_logprobs": [_token(*rank) for rank in ranks[:top]]}


def _token(word: str, logprob: float) -> dict[str, Any]:
    return {"token": word, "logprob": logprob, "bytes": list(word.encode())}


def _usage(script: BaseScript, reply: Reply) -> dict[str, int] | None:
    if script.no_usage:
        return None
    done, asked = len(reply.words) + script.usage_excess, reply.prompt_tokens
    return {"prompt_tokens": asked, "completion_tokens": done, "total_tokens": asked + done}
