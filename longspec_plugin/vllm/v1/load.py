"""What is drafted next: all, so many nodes as told by hand, or as measured while serving.

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

from proposers.base import Proposer
from proposers.load.follower import ALL, Choice, Effort, LoadFollower
from proposers.load.rests import Rests
from proposers.load.yields import EDGES, LEASTS, Verified
from proposers.tree import DraftTrees

from ...options import LongSpecOptions


class TreeSizes:
    """Chooses, step by step, how drafts are made and what of them is kept.

    Attributes:
        chosen: what was chosen last.
        nodes: the most nodes of each of the trees that were drafted last.
    """

    def __init__(self, options: LongSpecOptions, proposer: Proposer) -> None:
        self.max_nodes = self.nodes = proposer.max_nodes
        self.chosen = Choice(Effort.WHOLE, ALL)
        self.schedule = options.schedule
        self.follower = (
            LoadFollower(proposer.cheaper, proposer.max_nodes) if options.follow_load else None
        )
        self._rests = Rests()
        self._rows: dict[str, int] = {}
        self._decodes = False
        self._before: dict[str, int] = {}
        self._ended = self._drafting = 0.0
        self._drafted: frozenset[str] = frozenset()
        self._usual = True

    @property
    def least(self) -> float:
        """The log-probability under which no path is drafted."""
        return LEASTS[self.chosen.least]

    @property
    def cheap(self) -> bool:
        return self.chosen.effort is Effort.CHEAP

    def facts(self) -> dict[str, Any]:
        """For the trace: of this step, and what was chosen for the drafts that it verifies."""
        step = {"requests": len(self._rows), "prefills": not self._decodes, "chosen": self.nodes}
        if self.follower is None:
            return step
        effort, least = self.chosen
        return step | {"effort": effort.name.lower(), "least": EDGES[least] if effort else 1.0}

    def begin(self, scheduled: Any) -> None:
        """A step begins; ``scheduled`` is vLLM's scheduler output."""
        self._rows = scheduled.num_scheduled_tokens
        drafts = scheduled.scheduled_spec_decode_tokens
        self._decodes = all(
            rows == 1 + len(drafts.get(name, ())) for name, rows in self._rows.items()
        )
        if not drafts:
            self._verified(Verified(self._count(self._rows), [], []))

    def verified(self, requests: Sequence[str], trees: DraftTrees, rows: Tensor) -> None:
        """The step's trees were walked; ``rows`` are the walk's."""
        if self.follower is None:
            return
        self._verified(Verified.of(trees, rows, self._count(requests)))
        accepted = (rows[:, 1:] > 0).sum(1).tolist()
        for told in zip(requests, trees.sizes.tolist(), accepted, strict=True):
            self._rests.note(*told)

    def wants(self, request: str) -> bool:
        """Whether this request is drafted now; one whose drafts keep failing is at times not."""
        return self.follower is None or self._rests.wants(request)

    def forget(self, requests: set[str]) -> None:
        """They ended."""
        self._rests.forget(requests)

    def _verified(self, verified: Verified) -> None:
        if self.follower is not None and verified.trees:
            self.follower.verified(self.chosen, verified)

    def _count(self, requests: Sequence[str] | dict[str, int]) -> int:
        return sum(request in self._drafted for request in requests)

    def choose(self, requests: int, drafted: int, most: int) -> bool:
        """Choose for a batch of ``requests``, of which ``drafted`` may have a tree, none of more
        than ``most`` nodes; whether anything is drafted."""
        self.nodes, self._drafted = min(self.max_nodes, most), frozenset()
        if self.schedule is not None:
            self.nodes = min(self.schedule.nodes(requests), most)
        elif self.follower is not None:
            before, self.chosen = self.chosen, self.follower.choose(requests, drafted)
            self._usual = before.effort is self.chosen.effort
            self.nodes = self.nodes if self.chosen.effort else 0
        return self.nodes > 0

    @contextmanager
    def drafting(self, requests: Sequence[str], usual: bool) -> Iterator[list[int]]:
        """Time the drafting within, which appends how many nodes came of it; not ``usual`` is what
        catches up with a pause."""
        self._drafted = frozenset(requests)
        nodes: list[int] = []
        started = time.perf_counter()
        yield nodes
        self._drafting = time.perf_counter() - started
        if self.follower is not None and usual and self._usual:
            rows = len(requests) + sum(nodes)
            self.follower.drafted(self.chosen.effort, rows, self._drafting)

    def end(self) -> None:
        """The step ends, drafting included."""
        if self.follower is None:
            return
        now = time.perf_counter()
        if self._decodes and not self._before.keys().isdisjoint(self._rows):
            seconds = now - self._ended - self._drafting
            self.follower.stepped(len(self._rows), sum(self._rows.values()), seconds)
        self._before, self._ended, self._drafting = self._rows, now, 0.0
