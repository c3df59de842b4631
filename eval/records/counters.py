"""Counts of speculation: of one request, and of a server; and what is done with their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np


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


def _added(one: int | None, other: int | None, sign: int) -> int | None:
    return None if one is None or other is None else one + sign * other


def trim(per_position: Sequence[int]) -> list[int]:
    """Drop trailing zeros: engines keep one entry per tree node, paths are shorter."""
    last = max((i for i, count in enumerate(per_position) if count), default=-1)
    return list(per_position[: last + 1])


def at_least(histogram: Sequence[int]) -> list[int]:
    """From ``histogram[j]`` = steps that accepted exactly j, [i] = steps with at least i + 1."""
    tail = np.cumsum(np.asarray(histogram[::-1], dtype=int))[::-1]
    return trim([int(count) for count in tail[1:]])


def add_positions(many: Sequence[Sequence[int]]) -> list[int]:
    """Sum position by position; shorter lists end in zeros."""
    return [sum(column) for column in zip_longest(*many, fillvalue=0)]
