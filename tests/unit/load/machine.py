"""A machine that is simulated: what steps cost on it, and what a draft's trees yield."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proposers.load.follower import LoadFollower, candidates
from proposers.load.yields import Verified

Cost = Callable[[float], float]
NODES = 16
# On the accepted path by rank: a tree of all yields 2.0 tokens beside its root's.
GOOD = np.array([0.6, 0.35, 0.25, 0.18, 0.13, 0.1, 0.08, 0.06, *[0.03] * 8])


@dataclass
class Machine:
    """``step`` and ``draft`` give milliseconds, of rows and of nodes drafted.

    Attributes:
        accepted: probability by rank that a node is on the accepted path.
        noise: standard deviation of the logarithm of a measured time.
        slow: times are so many times longer.
    """

    step: Cost
    draft: Cost
    accepted: np.ndarray
    noise: float = 0.1
    slow: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def rate(self, nodes: int, requests: int) -> float:
        """Tokens a millisecond, on average."""
        cost = self.step(requests * (1 + nodes)) + (self.draft(requests * nodes) if nodes else 0)
        return float(requests * (1 + self.accepted[:nodes].sum()) / (self.slow * cost))

    def best(self, requests: int) -> float:
        """The rate of the best of all sizes."""
        return max(self.rate(n, requests) for n in range(len(self.accepted) + 1))

    def run(self, follower: LoadFollower, requests: int, steps: int) -> list[int]:
        """Serve; return the nodes chosen in each step."""
        chosen, nodes = [], 0
        for _ in range(steps):
            self._verify(follower, nodes, requests)
            nodes = follower.choose(requests, requests, len(self.accepted))
            if nodes:
                follower.drafted(requests * nodes, self._time(self.draft(requests * nodes)))
            chosen.append(nodes)
        return chosen

    def _verify(self, follower: LoadFollower, nodes: int, requests: int) -> None:
        rows = requests * (1 + nodes)
        follower.stepped(requests, rows, self._time(self.step(rows)))
        if nodes:
            drawn = self.random.random((requests, nodes)) < self.accepted[:nodes]
            counts = [nodes] * requests
            follower.verified(Verified(counts, counts, np.nonzero(drawn)[1].tolist()))

    def _time(self, cost: float) -> float:
        return self.slow * cost * float(np.exp(self.noise * self.random.standard_normal())) / 1e3

    def share(self, chosen: list[int], requests: int) -> float:
        """Tokens in the time of these steps, beside those at the best size."""
        rates = [self.rate(n, requests) for n in chosen]
        tokens = [1 + self.accepted[:n].sum() for n in chosen]
        seconds = sum(t / r for t, r in zip(tokens, rates, strict=True))
        return float(sum(tokens) / seconds / self.best(requests))


COSTS: dict[str, tuple[Cost, Cost]] = {
    "flat": (lambda rows: 20 + 0.01 * rows, lambda nodes: 3),
    "linear": (lambda rows: 2 + rows, lambda nodes: 1 + 0.1 * nodes),
    "mixed": (lambda rows: 12 + 0.9 * rows, lambda nodes: 3 + 0.15 * nodes),
    "knee": (lambda rows: max(10, rows / 6), lambda nodes: 1 + 0.01 * nodes),
    "steps": (lambda rows: 8 * np.ceil(rows / 16), lambda nodes: 2),
    "dear drafts": (lambda rows: 10 + 0.1 * rows, lambda nodes: 10 + nodes),
}
__all__ = ["COSTS", "GOOD", "NODES", "Machine", "candidates"]
