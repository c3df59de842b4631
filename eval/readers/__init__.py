"""What an engine tells about speculation: counters of the server, statistics of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import UserError
from ..metrics import add_positions


@dataclass(frozen=True)
class SpecStats:
    """Speculation of one request; ``per_position[i]`` = steps that accepted at least i + 1."""

    steps: int
    drafted: int
    accepted: int
    per_position: list[int]


@dataclass(frozen=True)
class Counters:
    """Sums since the server started; subtract two snapshots for a window."""

    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    per_position: list[int] = field(default_factory=list)
    completion_tokens: int = 0

    def __sub__(self, before: Counters) -> Counters:
        return self._combine(before, -1)

    def __add__(self, other: Counters) -> Counters:
        return self._combine(other, 1)

    def _combine(self, other: Counters, sign: int) -> Counters:
        positions = [self.per_position, [sign * count for count in other.per_position]]
        return Counters(
            self.steps + sign * other.steps,
            self.drafted + sign * other.drafted,
            self.accepted + sign * other.accepted,
            add_positions(positions),
            self.completion_tokens + sign * other.completion_tokens,
        )

    @property
    def went_back(self) -> bool:
        """Whether a difference is negative: the server restarted within the window."""
        numbers = [self.steps, self.drafted, self.accepted, self.completion_tokens]
        return any(number < 0 for number in [*numbers, *self.per_position])


class Reader(Protocol):
    """Reads one engine's formats."""

    def counters(self, exposition: str) -> Counters | None:
        """Sum the text of ``/metrics``; None if the engine's counters are not in it."""

    def of_response(self, extra: dict[str, Any]) -> SpecStats | None:
        """Read the fields beside OpenAI's in the last chunk of a response."""


def reader_of(engine: str) -> Reader:
    """The reader of an engine by name."""
    from .vllm import VllmReader

    if engine != "vllm":
        raise UserError(f"--engine {engine}: expected vllm")
    return VllmReader()
