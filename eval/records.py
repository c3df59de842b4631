"""One record per request: the same schema for every engine, a line each in requests.jsonl."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class RequestRecord(BaseModel):
    """What one request did. Times in milliseconds; None where the server does not tell."""

    model_config = ConfigDict(extra="forbid")

    arm: str
    round: int = 0
    prompt_id: str
    category: str
    turn: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    request_id: str | None = Field(default=None, description="the server's name of the request")
    ttft_ms: float | None = None
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
    text: str = ""
    text_sha256: str = ""
    error: str | None = None

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


class RecordFile:
    """Appends records as requests end, so that a run that dies keeps what it had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("")

    def append(self, record: RequestRecord) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
