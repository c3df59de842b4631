"""What an engine tells about speculation: counters of the server, statistics of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..metrics import acceptance_length, add_positions, ratio


@dataclass(frozen=True)
class SpecStats:
    """Speculation of one request; ``per_position[i]`` = steps that accepted at least i + 1."""

    steps: int
    drafted: int
    accepted: int
    per_position: list[int]
    step_accepted: list[int] | None = None
    """Accepted tokens of each verify step in order, if the engine tells."""


@dataclass(frozen=True)
class Counters:
    """Sums since the server started; subtract two snapshots for a window.

    None is what the engine does not count.
    """

    steps: int = 0
    drafted: int | None = 0
    accepted: int | None = 0
    per_position: list[int] = field(default_factory=list)
    completion_tokens: int = 0
    offered: bool = field(default=False, compare=False)
    """Whether the server has counters of speculation at all, be they zero."""

    def __sub__(self, before: Counters) -> Counters:
        return self._combine(before, -1)

    def __add__(self, other: Counters) -> Counters:
        return self._combine(other, 1)

    def _combine(self, other: Counters, sign: int) -> Counters:
        positions = [self.per_position, [sign * count for count in other.per_position]]
        return Counters(
            self.steps + sign * other.steps,
            _added(self.drafted, other.drafted, sign),
            _added(self.accepted, other.accepted, sign),
            add_positions(positions),
            self.completion_tokens + sign * other.completion_tokens,
            self.offered or other.offered,
        )

    @property
    def went_back(self) -> bool:
        """Whether a difference is negative: the server restarted within the window."""
        numbers = [self.steps, self.drafted, self.accepted, self.completion_tokens]
        return any((number or 0) < 0 for number in [*numbers, *self.per_position])

    @property
    def acceptance_length(self) -> float | None:
        """``1 + accepted / steps``; where accepted is not counted, ``tokens / steps``.

        The latter carries the token of each prefill and what was cut off at an answer's end.
        """
        if self.accepted is None:
            return ratio(self.completion_tokens, self.steps)
        return acceptance_length(self.steps, self.accepted)


def _added(one: int | None, other: int | None, sign: int) -> int | None:
    return None if one is None or other is None else one + sign * other


class Reader(Protocol):
    """Reads one engine's formats."""

    request: dict[str, Any] | None
    """Fields beside OpenAI's that a request carries, so that the answer tells."""

    def counters(self, exposition: str) -> Counters | None:
        """Sum the text of ``/metrics``; None if the engine's counters are not in it."""

    def of_response(self, extra: dict[str, Any]) -> SpecStats | None:
        """Read the fields beside OpenAI's in the chunks of a response."""

    def of_folder(self, folder: Path) -> dict[str, SpecStats]:
        """Read the files that the server has written of its requests, by request id."""


def reader_of(engine: str) -> Reader:
    """The reader of an engine by name."""
    from .sglang import SglangReader
    from .vllm import VllmReader

    readers: dict[str, type[Reader]] = {"vllm": VllmReader, "sglang": SglangReader}
    return readers[engine]()
