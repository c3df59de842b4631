"""Where a cycle's time goes: one JSON line a cycle when ``LONGSPEC_TRACE`` names a file.

``verify_ms`` is the step with the logits, of which ``forward_ms`` the target's layers;
``accept_ms`` the walk and the KV move; ``draft_ms`` drafting *and* accepting, all that the method
adds beside the forward; ``engine_ms`` the rest of the cycle (scheduling, bookkeeping, output).
``time`` is when the cycle ended, in seconds since 1970; ``trees``, ``nodes``, ``depth`` and
``accepted`` are sums over its requests. Where an engine tells of its steps, a cycle without trees
is a line too (``plain``), and both hold ``requests``, ``prefills`` (whether there were any), and of
what was chosen at this load ``chosen``, the most nodes that each tree might have, ``effort`` and
``least``, the least probability of a path.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from torch import Tensor

from proposers.tree import DraftTrees


class Trace:
    """Collects the sections of a cycle; does next to nothing without a file."""

    def __init__(self, file: IO[str] | None) -> None:
        self.file = file
        self.times: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self.step: dict[str, Any] = {}
        self.cycle_started = time.perf_counter()

    @classmethod
    def from_environment(cls) -> Trace:
        path = os.environ.get("LONGSPEC_TRACE")
        return cls(open(path, "a", buffering=1) if path else None)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - started

    def note_step(self, facts: dict[str, Any]) -> None:
        """A step begins, with trees or without."""
        self.step = facts

    def note_trees(self, trees: DraftTrees, accepted: Tensor, rows: int) -> None:
        """Sums over the step's drafted trees; reads nothing off the device without a file."""
        if self.file is None:
            return
        depths = trees.depths.masked_fill(~trees.valid(), 0)
        self.facts = {
            "rows": rows,
            "trees": int((trees.sizes > 0).sum()),
            "nodes": int(trees.sizes.sum()),
            "depth": int(depths.amax(1).sum()) if depths.numel() else 0,
            "accepted": int(accepted.sum()),
        }

    def end_cycle(self) -> None:
        """Write the cycle if it verified drafts or was told of, and begin the next."""
        now = time.perf_counter()
        if self.file is not None and (self.facts or self.step):
            self.file.write(json.dumps(self._line(now - self.cycle_started)) + "\n")
        self.times, self.facts, self.step, self.cycle_started = {}, {}, {}, now

    def _line(self, cycle: float) -> dict[str, Any]:
        took = {k: self.times.get(k, 0.0) for k in ("verify", "forward", "accept", "draft")}
        head = self.times.get("head", 0.0)  # logits that the walk asked for
        took["verify"], took["accept"] = took["verify"] + head, took["accept"] - head
        ours = took["draft"] + took["accept"]
        took["draft"] = ours
        took["engine"] = cycle - took["verify"] - ours
        milliseconds = {f"{name}_ms": round(1e3 * value, 3) for name, value in took.items()}
        milliseconds["cycle_ms"] = round(1e3 * cycle, 3)
        event = "cycle" if self.facts else "plain"
        return {"event": event, "time": time.time(), **milliseconds, **self.step, **self.facts}
