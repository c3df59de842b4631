"""Where a cycle's time goes on the device: a JSON line a cycle where ``LONGSPEC_TRACE`` says so.

``forward_ms`` is the step up to the hidden states, ``accept_ms`` the head's draws and the walk,
``move_ms`` the KV move, ``draft_ms`` drafting, ``cycle_ms`` from the begin of one step to that of
the next; ``requests``, ``rows`` and ``accepted`` are of the whole step. The host runs ahead of the
device, so sections are marked by events on its stream and read some cycles later.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import torch

SECTIONS = ("forward", "accept", "move", "draft")
BEHIND = 8
"""Cycles that may be open: the device has passed them when they are read."""


class HostMark:
    """Stands for an event where work is done as it is asked for."""

    def __init__(self) -> None:
        self.time = time.perf_counter()

    def elapsed_time(self, later: HostMark) -> float:
        """Milliseconds to a later mark."""
        return 1e3 * (later.time - self.time)

    def synchronize(self) -> None:
        """It has passed already."""


def mark(device: torch.device) -> Any:
    """A point in the device's work."""
    if device.type != "cuda":
        return HostMark()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


@dataclass
class Cycle:
    """Marks and facts of one cycle."""

    begin: Any
    sections: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Timing:
    """Collects cycles; does nothing without a file."""

    def __init__(self, device: torch.device, file: IO[str] | None) -> None:
        self.device, self.file = device, file
        self.cycles: deque[Cycle] = deque()

    @classmethod
    def from_environment(cls, device: torch.device) -> Timing:
        path = os.environ.get("LONGSPEC_TRACE")
        return cls(device, open(path, "a", buffering=1) if path else None)

    @property
    def on(self) -> bool:
        return self.file is not None

    def begin(self) -> None:
        """A step begins, and the cycle before it ends."""
        if not self.on:
            return
        self.cycles.append(Cycle(mark(self.device)))
        while len(self.cycles) > BEHIND:
            self._write(self.cycles.popleft(), self.cycles[0])

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        if not self.cycles:
            yield
            return
        started = mark(self.device)
        yield
        self.cycles[-1].sections[name] = started, mark(self.device)

    def note(self, **facts: Any) -> None:
        """Facts of this cycle, as numbers or as tensors of one."""
        if self.cycles:
            self.cycles[-1].facts.update(facts)

    def close(self) -> None:
        """Write what is open; the last cycle has no end."""
        while len(self.cycles) > 1:
            self._write(self.cycles.popleft(), self.cycles[0])

    def _write(self, cycle: Cycle, following: Cycle) -> None:
        """Cycles that verified nothing are left out."""
        if self.file is None or not cycle.facts:
            return
        following.begin.synchronize()
        line: dict[str, Any] = {"event": "cycle"}
        for name in SECTIONS:
            if name in cycle.sections:
                start, end = cycle.sections[name]
                line[f"{name}_ms"] = round(start.elapsed_time(end), 4)
        line["cycle_ms"] = round(cycle.begin.elapsed_time(following.begin), 4)
        facts = {name: int(value) for name, value in cycle.facts.items()}
        self.file.write(json.dumps(line | facts) + "\n")
