"""What trees yield: how often the node of each rank is there, and on the accepted path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..tree import DraftTrees, ranks

MEMORY = 400.0
"""Trees that are remembered: texts change, and what 400 trees yield is known to some hundredths."""
DOUBT = 8.0
"""Trees' worth of belief in ``FIRST`` before any tree was seen."""
FIRST = 0.5
"""What is believed of the likeliest node, and ``FIRST / (r + 1)`` of rank ``r``."""


@dataclass(frozen=True)
class Verified:
    """What became of a step's trees.

    Attributes:
        budgets: ``[B]`` the most nodes that each tree might have.
        sizes: ``[B]`` how many it had.
        accepted: ranks of all accepted nodes, of all trees in one list; 0 is the likeliest.
    """

    budgets: Sequence[int]
    sizes: Sequence[int]
    accepted: Sequence[int]

    @classmethod
    def of(cls, trees: DraftTrees, rows: Tensor, budgets: Sequence[int]) -> Verified:
        """From a walk's ``rows`` (``[B, D + 1]``, see :class:`proposers.acceptance.Walk`)."""
        path = rows[:, 1:]
        if not trees.max_nodes or not path.shape[1]:
            return cls(budgets, trees.sizes.tolist(), [])
        place = ranks(trees).gather(1, (path - 1).clamp(min=0))
        return cls(budgets, trees.sizes.tolist(), place[path > 0].tolist())


class Yields:
    """Means by rank. As pruned trees are nested, those of the first ``n`` ranks tell what a tree
    of ``n`` nodes yields, and how many nodes it has: proposers may give less than they are asked.
    """

    def __init__(self, max_nodes: int) -> None:
        self._asked = [DOUBT] * max_nodes
        self._there = [DOUBT] * max_nodes
        self._accepted = [DOUBT * FIRST / (rank + 1) for rank in range(max_nodes)]

    def note(self, verified: Verified) -> None:
        """Take in what became of a step's trees."""
        most = max(verified.budgets, default=0)
        asked, there, accepted = ([0] * most for _ in range(3))
        for budget, size in zip(verified.budgets, verified.sizes, strict=True):
            for rank in range(budget):
                asked[rank] += 1
                there[rank] += rank < size
        for rank in verified.accepted:
            accepted[rank] += 1
        for rank in range(most):
            kept = min(1.0, MEMORY / (self._asked[rank] + asked[rank]))
            self._asked[rank] = kept * (self._asked[rank] + asked[rank])
            self._there[rank] = kept * (self._there[rank] + there[rank])
            self._accepted[rank] = kept * (self._accepted[rank] + accepted[rank])

    def nodes(self, budget: int) -> float:
        """Nodes of a tree that is asked for ``budget``."""
        return sum(self._there[r] / self._asked[r] for r in range(budget))

    def accepted(self, budget: int) -> float:
        """Tokens of such a tree that are accepted."""
        return sum(self._accepted[r] / self._asked[r] for r in range(budget))
