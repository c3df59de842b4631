"""One record per request: the same schema for every engine, a line each in requests.jsonl.

Texts are kept apart by kind: ``text`` is the content, beside it what the model thought before, its
calls of tools and its refusal. All of them are generated, and counted as completion tokens.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left

from pydantic import BaseModel, ConfigDict, Field


class Texts(BaseModel):
    """The texts of an answer, and its tokens where the server gives them."""

    text: str = ""
    reasoning: str = ""
    tool_calls: str = ""
    refusal: str = ""
    token_ids: list[int] | None = None

    @property
    def whole(self) -> str:
        """All texts, in the order in which models write them."""
        return self.reasoning + self.text + self.tool_calls + self.refusal

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The same apart: a thought that moves into the content is another answer."""
        return self.reasoning, self.text, self.tool_calls, self.refusal

    @property
    def all_ids(self) -> list[int] | None:
        """``token_ids`` if they are all that was generated; a parser may keep some back."""
        return self.token_ids or None


def same_answer(one: Texts, other: Texts) -> bool | None:
    """Whether two answers are alike: by token ids where both have them all, else by their texts.

    None where neither tells: two empty texts are no proof.
    """
    if one.all_ids and other.all_ids:
        return one.all_ids == other.all_ids
    if not one.whole and not other.whole:
        return None
    return one.parts == other.parts


class RequestRecord(Texts):
    """What one request did. Times in milliseconds; None where the server does not tell."""

    # Assignments are checked, so that nothing is written that cannot be read again.
    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    arm: str
    round: int = 0
    concurrency: int = 1
    temperature: float = 0.0
    window: str = Field(default="", description="the measured window that it belongs to")
    prompt_id: str
    category: str
    turn: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    request_id: str | None = Field(default=None, description="the server's name of the request")
    started: float | None = Field(default=None, description="seconds since 1970, client's clock")
    ttft_ms: float | None = Field(default=None, description="to the first part with a token")
    first: str | None = Field(
        default=None, description="what that was: reasoning, content, tool_calls, refusal or tokens"
    )
    tpot_ms: float | None = None
    latency_ms: float | None = None
    steps: int | None = Field(default=None, description="target forwards that verified a draft")
    drafted: int | None = Field(
        default=None, description="tokens drafted; nodes, where drafts are trees"
    )
    accepted: int | None = Field(
        default=None, description="drafted tokens accepted, no bonus tokens"
    )
    per_position: list[int] | None = Field(
        default=None,
        description="[i] = steps that accepted at least i + 1 tokens; no trailing zeros",
    )
    step_accepted: list[int] | None = Field(
        default=None, description="accepted tokens of each verify step, in order"
    )
    chunk_tokens: list[int] | None = Field(
        default=None, description="tokens of each part of the stream that had some"
    )
    text_sha256: str = ""
    error: str | None = None
    answered: bool = Field(
        default=False, description="the error is of an answer that came: not asked again"
    )

    @property
    def all_ids(self) -> list[int] | None:
        """As many as the usage says, or they are not all."""
        told = self.token_ids or []
        return told if len(told) == self.completion_tokens else None

    @property
    def key(self) -> tuple[str, int]:
        """What is paired between arms: the prompt and the turn."""
        return (self.prompt_id, self.turn)

    @property
    def latency_per_token(self) -> float | None:
        """Milliseconds per completion token, prefill included."""
        if self.error or self.latency_ms is None or not self.completion_tokens:
            return None
        return self.latency_ms / self.completion_tokens


def sha256(text: str) -> str:
    """Hex digest of the text as UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


class ControlRecord(Texts):
    """Vanilla's answer to a prompt that it has answered before, with what it knew of each token.

    The turns before are those of the measured answer. ``ends[i]`` is where token i ends in the
    text, in characters; ``margins[i]`` its log-probability less the best other one, in nats.
    """

    model_config = ConfigDict(extra="forbid")

    prompt_id: str
    turn: int = 0
    concurrency: int = 1
    temperature: float = 0.0
    ends: list[int] = []
    margins: list[float | None] = []

    @property
    def key(self) -> tuple[str, int]:
        """The prompt and the turn."""
        return (self.prompt_id, self.turn)

    def token_at(self, character: int) -> int | None:
        """The first token with a part of a character; None past the end.

        A character of several tokens is whole with the last of them: the others end where it
        begins, behind the token that ends there first.
        """
        at = bisect_left(self.ends, character)
        if character and at < len(self.ends):
            at += self.ends[at] == character
        return at if at < len(self.ends) else None
