"""A machine that is simulated: what steps cost on it, and what drafts yield."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from proposers.load.follower import NOTHING, Choice, Effort, LoadFollower
from proposers.load.yields import EDGES, Verified

Cost = Callable[[float], float]
NODES = 16
LIKELY = np.array([0.95, 0.8, 0.66, 0.5, 0.35, 0.23, 0.13])
"""Likelihoods that nodes have; each lies within edges of its own."""
# How many nodes of each a tree has, on average; whole trees yield 1.6 tokens beside their roots'.
PRESENT = {
    Effort.CHEAP: np.array([0.05, 0.1, 0.2, 0.2, 0.1, 0.0, 0.0]),
    Effort.WHOLE: np.array([0.15, 0.2, 0.4, 0.6, 0.9, 1.2, 1.5]),
}
CHOICES = [NOTHING, *(Choice(e, least) for e in PRESENT for least in range(len(EDGES)))]


@dataclass
class Machine:
    """``step`` and ``draft`` give milliseconds, of rows and of rows drafted.

    Attributes:
        hold: nodes hold so many times as often as they say.
        noise: standard deviation of the logarithm of a measured time.
        slow: times are so many times longer.
    """

    step: Cost
    draft: Cost
    hold: float = 1.0
    noise: float = 0.1
    slow: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def rate(self, choice: Choice, requests: int) -> float:
        """Tokens a millisecond, on average."""
        present = self._present(choice)
        nodes, accepted = present.sum(), self.hold * (present * LIKELY).sum()
        cost = self.step(requests * (1 + nodes)) + self._draft(choice, requests * (1 + nodes))
        return float(requests * (1 + accepted) / (self.slow * cost))

    def _present(self, choice: Choice) -> np.ndarray:
        if not choice.effort:
            return np.zeros(len(LIKELY))
        return np.where(EDGES[choice.least] <= LIKELY, PRESENT[choice.effort], 0.0)

    def _draft(self, choice: Choice, rows: float) -> float:
        return {Effort.NONE: 0.0, Effort.CHEAP: 0.2, Effort.WHOLE: self.draft(rows)}[choice.effort]

    def best(self, requests: int) -> float:
        """The rate of the best of all choices."""
        return max(self.rate(choice, requests) for choice in CHOICES)

    def run(self, follower: LoadFollower, requests: int, steps: int) -> list[Choice]:
        """Serve; return what was chosen in each step."""
        chosen: list[Choice] = []
        choice, nodes = NOTHING, np.zeros(len(LIKELY), dtype=int)
        for _ in range(steps):
            self._verify(follower, choice, nodes, requests)
            choice = follower.choose(requests, requests)
            nodes = self.random.poisson(requests * self._present(choice))
            if choice.effort:
                rows = requests + int(nodes.sum())
                follower.drafted(choice.effort, rows, self._time(self._draft(choice, rows)))
            chosen.append(choice)
        return chosen

    def _verify(
        self, follower: LoadFollower, choice: Choice, nodes: np.ndarray, requests: int
    ) -> None:
        rows = requests + int(nodes.sum())
        follower.stepped(requests, rows, self._time(self.step(rows)))
        if choice.effort:
            held = self.random.binomial(nodes, self.hold * LIKELY)
            all_nodes, accepted = (np.log(np.repeat(LIKELY, n)).tolist() for n in (nodes, held))
            follower.verified(choice, Verified(requests, all_nodes, accepted))

    def _time(self, cost: float) -> float:
        return self.slow * cost * float(np.exp(self.noise * self.random.standard_normal())) / 1e3

    def share(self, chosen: Sequence[Choice], requests: int) -> float:
        """Tokens in the time of these steps, beside those at the best choice."""
        rates = [self.rate(choice, requests) for choice in chosen]
        tokens = [1 + self.hold * (self._present(c) * LIKELY).sum() for c in chosen]
        seconds = sum(t / r for t, r in zip(tokens, rates, strict=True))
        return float(sum(tokens) / seconds / self.best(requests))

    def nodes(self, chosen: Sequence[Choice]) -> float:
        """Nodes of a tree, the median of the steps."""
        return float(np.median([self._present(choice).sum() for choice in chosen]))


COSTS: dict[str, tuple[Cost, Cost]] = {
    "flat": (lambda rows: 20 + 0.01 * rows, lambda rows: 3),
    "linear": (lambda rows: 0.2 + rows, lambda rows: 1 + 0.1 * rows),
    "mixed": (lambda rows: 12 + 0.9 * rows, lambda rows: 3 + 0.15 * rows),
    "knee": (lambda rows: max(10, rows / 6), lambda rows: 1 + 0.01 * rows),
    "steps": (lambda rows: 8 * np.ceil(rows / 16), lambda rows: 2),
    "dear drafts": (lambda rows: 10 + 1.2 * rows, lambda rows: 10 + rows),
}
