"""Tensor parallelism: one model in several processes, its *ranks*, each with its part of the heads.

Nothing here knows how ranks talk to each other: an adapter hands the engine's own collectives over.
Token ids and places travel beside probabilities as float32, which is exact up to 2**24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .tree import DraftTrees

Collective = Callable[[Tensor], Tensor]
"""Called by all ranks at the same time, with tensors of one shape and dtype."""


def _as_it_is(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True)
class Shard:
    """A rank's part of what ``size`` ranks share.

    Attributes:
        all_reduce: the sum of all ranks' tensors; may write it over its argument.
        all_gather: from ``[...]`` to ``[size, ...]``, the tensors of all ranks in order.
    """

    rank: int = 0
    size: int = 1
    all_reduce: Collective = _as_it_is
    all_gather: Collective = lambda values: values[None]

    def part(self, count: int) -> slice:
        """Which of ``count`` heads (or columns) are this rank's.

        Where there are fewer than ranks, neighbours have the same one, as the target's KV heads do.
        """
        first = self.rank * count // self.size
        return slice(first, first + max(1, count // self.size))

    def rows(self, table: Tensor, index: Tensor) -> Tensor:
        """Rows ``[..., H]`` of a table of which this rank has ``[n, H]``, the ``rank``-th n rows.

        Each row is had by one rank and added to zeros, so it comes unrounded.
        """
        if self.size == 1:
            return F.embedding(index, table)
        here = index - self.rank * len(table)
        mine = (here >= 0) & (here < len(table))
        found = F.embedding(torch.where(mine, here, 0), table)
        return self.all_reduce(found.masked_fill_(~mine[..., None], 0))

    def agreed(self, trees: DraftTrees, width: int) -> DraftTrees:
        """The first rank's trees, for a proposer whose processes may differ.

        Args:
            width: the most nodes of a tree; what comes is as wide.
        """
        if self.size == 1:
            return trees
        nodes = (trees.tokens, trees.parents, trees.depths, trees.log_probs)
        room = (0, width - trees.max_nodes)
        columns = [F.pad(part.float(), room) for part in nodes]
        first = self.all_gather(torch.cat([*columns, trees.sizes[:, None]], 1))[0]
        tokens, parents, depths, scores = first[:, :-1].split(width, 1)
        sizes, levels = first[:, -1].long(), int(depths.max())
        return DraftTrees(tokens.long(), parents.long(), depths.long(), scores, sizes, levels)


WHOLE = Shard()
"""One process has all of it."""
