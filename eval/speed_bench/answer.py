"""What a stream in OpenAI's format says, read part by part: texts by kind, tokens, counts.

All that a server generates is an answer: ``content``, what it thinks before (``reasoning_content``
or ``reasoning``), calls of tools and refusals. Fields that are null count as absent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..records.jsontext import an_object, parsed, writable

KINDS = ("reasoning", "content", "tool_calls", "refusal")
"""In the order in which models write them."""
TOKENS = "tokens"  # a part with token ids and no text, such as a marker that a parser takes out
_STANDARD = {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
_THOUGHTS = ("reasoning_content", "reasoning")  # some servers send both, alike


class FailedError(Exception):
    """No answer came, or not all of it; the text says why, in the server's words if it told."""


@dataclass
class Answer:
    """What a stream has shown so far; times are of ``time.perf_counter``."""

    started: float
    first: float | None = None
    kind: str | None = None
    texts: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    finish_reason: str | None = None
    request_id: str | None = None
    usage: dict[str, Any] | None = None
    token_ids: list[int] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    parts: int = 0
    done: bool = False  # the stream has said that it is over

    def take(self, data: str) -> None:
        """Read the data of one event.

        Raises:
            FailedError: gives the server's own error.
            ValueError: says what is wrong with what came.
        """
        if data.strip() == "[DONE]":
            self.done = True
            return
        chunk = an_object(parsed(data), "a part of the stream")
        if error := chunk.get("error"):
            raise FailedError(f"the server sent an error: {error}")
        self.parts += 1
        if chunk.get("id") is not None:
            self.request_id = writable(str(chunk["id"]))
        if chunk.get("usage") is not None:
            self.usage = an_object(chunk["usage"], "usage")
        self.extra |= {k: v for k, v in chunk.items() if k not in _STANDARD and v is not None}
        for choice in a_list(chunk.get("choices"), "choices"):
            self._choice(an_object(choice, "a choice"))

    def _choice(self, choice: dict[str, Any]) -> None:
        if reason := _text(choice.get("finish_reason"), "finish_reason"):
            self.finish_reason = writable(reason)
        said = texts_of(choice.get("delta"))
        ids = a_list(choice.get("token_ids"), "token_ids")
        if self.first is None and (said or ids):
            self.first, self.kind = time.perf_counter(), next(iter(said), TOKENS)
        for kind, text in said.items():
            self.texts[kind].append(text)
        if ids:
            self.token_ids += ids
            self.chunk_tokens.append(len(ids))

    def said(self) -> tuple[dict[str, str], bool]:
        """The texts by kind, fit to be written, and whether they came so."""
        raw = {kind: "".join(parts) for kind, parts in self.texts.items()}
        joined = {kind: writable(text) for kind, text in raw.items()}
        whole = all(
            text.count("\ufffd") == raw[kind].count("\ufffd") for kind, text in joined.items()
        )
        return joined, whole

    def count(self, name: str) -> int:
        """A number of tokens that ``usage`` tells; ``ValueError`` where it is none."""
        if self.usage is None:
            raise ValueError("the server sent no usage, so tokens cannot be counted")
        value = self.usage.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"usage.{name} is {value!r}, not a number of tokens")
        return value


def texts_of(message: object) -> dict[str, str]:
    """The texts of a message or a delta by kind, in the order of ``KINDS``; empty ones left out."""
    if message is None:
        return {}
    fields = an_object(message, "a message")
    thoughts = next((fields[name] for name in _THOUGHTS if fields.get(name)), None)
    content, inner = _content(fields.get("content"))
    calls = [*a_list(fields.get("tool_calls"), "tool_calls")]
    if fields.get("function_call"):
        calls.append({"function": fields["function_call"]})
    found = {
        "reasoning": _text(thoughts, "reasoning") or inner,
        "content": content,
        "tool_calls": "".join(_call(call) for call in calls),
        "refusal": _text(fields.get("refusal"), "refusal"),
    }
    return {kind: text for kind, text in found.items() if text}


def _content(value: object) -> tuple[str, str]:
    """Text and thoughts of ``content``, which some servers send as a list of typed parts."""
    if not isinstance(value, list):
        return _text(value, "content"), ""
    text, thoughts = "", ""
    for part in value:
        fields = an_object(part, "a part of content")
        inner, _ = _content(fields.get("thinking"))
        thoughts += inner
        text += _text(fields.get("text"), "text")
    return text, thoughts


def _call(call: object) -> str:
    """The name and the arguments of a call, as far as this part of it has them."""
    function = an_object(call, "a tool call").get("function")
    fields: Mapping[str, Any] = an_object({} if function is None else function, "a function")
    return "".join(_text(fields.get(name), name) for name in ("name", "arguments"))


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{what} is a JSON {type(value).__name__}, not a text")
    return value


def a_list(value: object, what: str) -> list[Any]:
    """A JSON list; empty for null."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{what} is a JSON {type(value).__name__}, not a list")
    return value
