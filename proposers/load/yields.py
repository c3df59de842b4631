"""What trees yield: how many nodes of each likelihood there are, and how many are accepted."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from torch import Tensor

from ..tree import DraftTrees

EDGES = (0.92, 0.85, 0.77, 0.69, 0.63, 0.55, 0.47, 0.39, 0.31, 0.26, 0.21, 0.16, 0.11, 0.06, 0.0)
"""Path probabilities that nodes are told apart by. None is a fraction of small numbers, as lookups
give them, so that no rounding decides."""
LEASTS = tuple(math.log(edge) if edge else -math.inf for edge in EDGES)
_RISING = [-least for least in LEASTS]
MEMORY, STEPS = 400.0, 64.0
"""Trees that are remembered, and steps, if that is less: what 400 trees yield is known to some
hundredths, but texts change, and with few requests all at once."""
DOUBT = 8.0
"""Trees' worth of belief before any was seen: ``FIRST`` nodes of each likelihood in a tree, which
hold as often as they say."""
FIRST = 0.3


@dataclass(frozen=True)
class Verified:
    """What became of a step's trees.

    Attributes:
        trees: how many there were, those without a node included.
        nodes: log-probabilities of all nodes, of all trees in one list.
        accepted: those of the nodes on the accepted paths.
    """

    trees: int
    nodes: Sequence[float]
    accepted: Sequence[float]

    @classmethod
    def of(cls, trees: DraftTrees, rows: Tensor, count: int) -> Verified:
        """From a walk's ``rows`` (``[B, D + 1]``, see :class:`proposers.acceptance.Walk`).

        Args:
            count: how many of the batch's requests were drafted.
        """
        told = zip(trees.log_probs.tolist(), trees.sizes.tolist(), rows.tolist(), strict=True)
        nodes, accepted = [], []
        for scores, size, path in told:
            nodes += scores[:size]
            accepted += [scores[row - 1] for row in path if row > 0]
        return cls(count, nodes, accepted)


class Yields:
    """Means by likelihood. Those at least as likely as ``LEASTS[i]`` tell what trees yield whose
    paths are all as likely, as nobody is likelier than a node above it."""

    def __init__(self) -> None:
        self._trees = np.full(len(EDGES), DOUBT)
        self._nodes = np.full(len(EDGES), DOUBT * FIRST)
        middles = (np.array((1.0, *EDGES[:-1])) + EDGES) / 2
        self._accepted = self._nodes * middles
        self._sum()

    def note(self, verified: Verified, least: int) -> None:
        """Take in what became of a step's trees, which had no path under ``LEASTS[least]``."""
        if not verified.trees:
            return
        seen, memory = slice(0, least + 1), min(MEMORY, STEPS * verified.trees)
        kept = np.minimum(1.0, memory / (self._trees[seen] + verified.trees))
        for sums, new in (
            (self._trees, verified.trees),
            (self._nodes, _counts(verified.nodes)[seen]),
            (self._accepted, _counts(verified.accepted)[seen]),
        ):
            sums[seen] = kept * (sums[seen] + new)
        self._sum()

    def _sum(self) -> None:
        self._totals = [
            list(accumulate((part / self._trees).tolist()))
            for part in (self._nodes, self._accepted)
        ]

    def nodes(self, least: int) -> float:
        """Nodes of a tree that has no path under ``LEASTS[least]``."""
        return self._totals[0][least]

    def accepted(self, least: int) -> float:
        """Tokens of such a tree that are accepted."""
        return self._totals[1][least]


def _counts(scores: Sequence[float]) -> np.ndarray:
    """How many are of each likelihood; a dozen nodes are counted sooner one by one."""
    counts = [0] * len(EDGES)
    for score in scores:
        counts[bisect_left(_RISING, -score)] += 1
    return np.array(counts)
