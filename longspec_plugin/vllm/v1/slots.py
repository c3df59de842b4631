"""A slot for each request that is drafted, as Model Runner V1 moves requests between its rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


class Slots:
    """Slots of requests, lowest first, and how much of each text was known when it was drafted."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, int] = {}
        self._lengths: dict[Hashable, int] = {}
        self._free: list[int] = []

    def take(self, request: Hashable, length: int) -> tuple[int, int]:
        """A request's slot, and how many of its ``length`` tokens are new; 0: all are."""
        if request not in self._slots:
            self._slots[request] = self._free.pop() if self._free else len(self._slots)
        known = self._lengths.get(request, 0)
        self._lengths[request] = length
        return self._slots[request], length - known if 0 < known < length else 0

    def give_back(self, requests: Iterable[Hashable]) -> None:
        """Free the slots of requests that ended."""
        for request in requests:
            if request in self._slots:
                self._free.append(self._slots.pop(request))
                del self._lengths[request]
