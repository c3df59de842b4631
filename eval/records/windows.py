"""One record per measured window: what the servers' counters said before and after."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ..cli.sweep import Condition, Place
from .counters import Counters


class WindowRecord(BaseModel):
    """A window that was measured to its end, or up to a Ctrl-C."""

    model_config = ConfigDict(extra="forbid")

    window: str
    arm: str
    round: int
    concurrency: int
    temperature: float
    started: float
    ended: float
    failed: int = 0  # requests that the counters hold and no sound record does
    counters: dict[str, Any] | None = None
    too_long: list[str] = []
    raw_prompt_tokens: dict[str, int] = {}
    model_root: str | None = None  # where the server says that it loaded the model from

    @property
    def place(self) -> Place:
        return Place(self.arm, self.round, Condition(self.concurrency, self.temperature))

    @property
    def counted(self) -> Counters | None:
        """The difference of the counters."""
        return Counters(**self.counters) if self.counters is not None else None
