"""A clock that the test sets, and what PoE and GLIDE would have returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from eval.latency_bench.harness import Timings, within_fences


class FakeWatch:
    """Calls take what ``times`` says, by their number; notes the order of everything."""

    def __init__(self, times: Callable[[int], float]) -> None:
        self.times, self.calls, self.events = times, count(), list[str]()

    def flush(self) -> None:
        self.events.append("flush")

    def start(self) -> None:
        self.events.append("start")

    def stop(self) -> float:
        self.events.append("stop")
        return self.times(next(self.calls))


@dataclass
class PoeCall:
    """So many tokens of each kind."""

    accepted: int
    resampled: int
    bonus: int = 0
    drafted: int = 0
    steps: int = 1
    tokens: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = [7] * (self.accepted + self.resampled + self.bonus)


def timings(raw: Sequence[float], outputs: Sequence[Any]) -> Timings[Any]:
    """Measured calls after five for the estimate and two to warm up."""
    return Timings(list(raw), within_fences(raw), list(outputs), raw[0], 2)
