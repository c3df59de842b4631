"""What varies beside the arm: requests in flight and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product


@dataclass(frozen=True, order=True)
class Condition:
    """One point of a sweep."""

    concurrency: int = 1
    temperature: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a record belongs. A resumed run has several windows of a place, so none tells it."""

    arm: str
    round: int
    condition: Condition
    window: str = field(default="", compare=False)


def conditions(concurrency: Sequence[int], temperature: Sequence[float]) -> list[Condition]:
    """Every pair of both, the concurrency changing fastest."""
    return [Condition(c, t) for t, c in product(temperature, concurrency)]


def label(arm: str, condition: Condition, among: Sequence[Condition]) -> str:
    """The arm's name, with what differs among the conditions: ``longspec c=4 T=1``."""
    parts = [arm]
    if len({each.concurrency for each in among}) > 1:
        parts.append(f"c={condition.concurrency}")
    if len({each.temperature for each in among}) > 1:
        parts.append(f"T={condition.temperature:g}")
    return " ".join(parts)
