"""Requests whose drafts keep failing are drafted less."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

FAILS = 12
"""Trees in a row of which nothing was accepted, after which a request rests."""
FIRST, LONGEST = 8, 128
"""Steps of a request's first rest, and of any; each rest is twice as long as the one before."""


@dataclass
class _Luck:
    fails: int = 0
    rest: int = FIRST
    left: int = 0


class Rests:
    """Counts by request; an accepted token makes up for all that failed before."""

    def __init__(self) -> None:
        self._luck: dict[Hashable, _Luck] = {}

    def note(self, request: Hashable, nodes: int, accepted: int) -> None:
        """A tree of the request was verified; an empty one tells nothing."""
        if accepted:
            self._luck.pop(request, None)
        elif nodes:
            luck = self._luck.setdefault(request, _Luck())
            luck.fails += 1
            if luck.fails >= FAILS:
                luck.left, luck.rest = luck.rest, min(2 * luck.rest, LONGEST)

    def wants(self, request: Hashable) -> bool:
        """Whether it is drafted in this step; one step of its rest, if not."""
        luck = self._luck.get(request)
        if luck is None or not luck.left:
            return True
        luck.left -= 1
        return False

    def forget(self, requests: Iterable[Hashable]) -> None:
        """They ended."""
        for request in requests:
            self._luck.pop(request, None)
