"""What a target computes of tree rows, its logits say, at the rows that a walk visits.

A walk visits a row of each level, some three of fifteen, so computing all rows before it is mostly
for nothing; yet a row at a time would read the weights anew at each level. Here a level computes
the rows it needs, filled up with those that are likely to be next: weights are read anyhow, and a
handful of rows more costs little beside that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .tree import DraftTrees, ancestor_mask

AT_ONCE = 16
"""Rows that take little longer than one, as long as weights come from memory."""


def pays(trees: DraftTrees, at_once: int = AT_ONCE) -> bool:
    """Whether fewer rows than all are to be expected, as the draft's probabilities say: roots, the
    nodes that are visited, and one computation that comes out half empty."""
    roots = trees.batch_size
    rows, least = roots + int(trees.sizes.sum()), max(roots, at_once) + at_once
    if rows <= least:
        return False
    visited = trees.log_probs.exp().masked_fill(~trees.valid(), 0.0).sum()
    return least + float(visited) < rows


class Visits:
    """The values of rows, computed when they are asked for and kept.

    Args:
        trees: one per request.
        first_rows: ``[B]`` where each request's rows begin among all.
        compute: from indices of rows ``[n]`` to their values ``[n, ..]``, each alone.
        at_once: rows of one computation at least, if there are as many.
    """

    def __init__(
        self,
        trees: DraftTrees,
        first_rows: Tensor,
        compute: Callable[[Tensor], Tensor],
        at_once: int = AT_ONCE,
    ) -> None:
        self.first_rows, self.compute, self.at_once = first_rows, compute, at_once
        nodes = trees.log_probs.masked_fill(~trees.valid(), float("-inf"))
        self.scores = torch.cat([nodes.new_zeros(trees.batch_size, 1), nodes], 1)
        self.ancestors = ancestor_mask(trees)
        self.place = torch.full_like(self.scores, -1, dtype=torch.int64)
        self.values: Tensor | None = None

    def __call__(self, rows: Tensor, active: Tensor) -> Tensor:
        """``[B, ..]``: the values at ``rows`` (``[B]``), which are new where ``active``."""
        needed = torch.zeros_like(self.place, dtype=torch.bool)
        needed.scatter_(1, rows[:, None], active[:, None])
        needed &= self.place < 0
        if bool(needed.any()):
            self._compute(needed | self._likely(rows, active, needed))
        assert self.values is not None
        return self.values[self.place.gather(1, rows[:, None])[:, 0]]

    def _likely(self, rows: Tensor, active: Tensor, needed: Tensor) -> Tensor:
        """``[B, N + 1]`` bool: of the rows under those that are visited now, the likeliest."""
        likely = torch.zeros_like(needed)
        room = min(self.at_once - int(needed.sum()), likely.numel())
        if room <= 0:
            return likely
        at = rows[:, None]
        under = self.ancestors.gather(2, at[:, None].expand(-1, likely.shape[1], 1))[:, :, 0]
        under = under & active[:, None] & (self.place < 0) & ~needed
        scores = (self.scores - self.scores.gather(1, at)).masked_fill(~under, float("-inf"))
        best = scores.flatten().topk(room)
        likely.view(-1)[best.indices[best.values > float("-inf")]] = True
        return likely

    def _compute(self, wanted: Tensor) -> None:
        requests, rows = wanted.nonzero(as_tuple=True)
        new = self.compute(self.first_rows[requests] + rows)
        count = 0 if self.values is None else len(self.values)
        self.place[wanted] = torch.arange(count, count + len(new), device=self.place.device)
        self.values = new if self.values is None else torch.cat([self.values, new])
