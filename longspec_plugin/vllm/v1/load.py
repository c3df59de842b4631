"""How many nodes the next trees have: all, as told by hand, or as measured while serving.

What is measured is the engine's whole cycle, from one end of drafting to the next, as the host
waits for each step here. A step counts if it has no prefill and follows at once on another, which a
request tells that was in both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from proposers.load.follower import LoadFollower
from proposers.load.yields import Verified
from proposers.tree import DraftTrees

from ...options import LongSpecOptions


class TreeSizes:
    """Chooses the nodes of trees, step by step.

    Attributes:
        chosen: the most nodes of each of the trees that were drafted last.
    """

    def __init__(self, options: LongSpecOptions, max_nodes: int) -> None:
        self.max_nodes = self.chosen = max_nodes
        self.schedule = options.schedule
        self.follower = LoadFollower(max_nodes) if options.follow_load else None
        self._rows: dict[str, int] = {}
        self._decodes = False
        self._before: dict[str, int] = {}
        self._ended = self._drafting = 0.0
        self._budgets: dict[str, int] = {}

    def begin(self, scheduled: Any) -> None:
        """A step begins; ``scheduled`` is vLLM's scheduler output."""
        if self.follower is None:
            return
        drafts = scheduled.scheduled_spec_decode_tokens
        self._rows = scheduled.num_scheduled_tokens
        self._decodes = all(
            rows == 1 + len(drafts.get(name, ())) for name, rows in self._rows.items()
        )

    def verified(self, requests: Sequence[str], trees: DraftTrees, rows: Tensor) -> None:
        """The step's trees were walked; ``rows`` are the walk's."""
        if self.follower is not None:
            budgets = [self._budgets.get(request, 0) for request in requests]
            self.follower.verified(Verified.of(trees, rows, budgets))

    def choose(self, requests: int, drafted: int, most: int) -> int:
        """The nodes of the next trees: of a batch of ``requests``, of which ``drafted`` may have
        one, none of more than ``most`` nodes."""
        self.chosen = min(self.max_nodes, most)
        if self.schedule is not None:
            self.chosen = min(self.schedule.nodes(requests), most)
        elif self.follower is not None:
            self.chosen = self.follower.choose(requests, drafted, self.chosen)
        return self.chosen

    @contextmanager
    def drafting(
        self, requests: Sequence[str], budgets: Sequence[int], usual: bool
    ) -> Iterator[None]:
        """Time the drafting within; not ``usual`` is what catches up with a pause."""
        self._budgets = dict(zip(requests, budgets, strict=True))
        started = time.perf_counter()
        yield
        self._drafting = time.perf_counter() - started
        if self.follower is not None and usual:
            self.follower.drafted(sum(budgets), self._drafting)

    def end(self) -> None:
        """The step ends, drafting included."""
        if self.follower is None:
            return
        now = time.perf_counter()
        if self._decodes and not self._before.keys().isdisjoint(self._rows):
            seconds = now - self._ended - self._drafting
            self.follower.stepped(len(self._rows), sum(self._rows.values()), seconds)
        self._before, self._ended, self._drafting = self._rows, now, 0.0
