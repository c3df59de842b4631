"""The choice of a level's nodes in one Triton kernel, written where the trees will lie.

In plain torch it is six operators a level, and as many more to put the levels together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import kernels
from .kernels import jit, require_triton, tl, triton
from .levels import Frontier, Level, Levels
from .tree import DraftTrees

MOST_CANDIDATES = 4096
"""Each is compared with all others: beyond that sorting is quicker."""
BLOCK, OTHERS = 32, 256
"""Candidates of a program, and with how many of all it compares them at once."""


class LevelsTriton(Levels):
    """Levels in buffers of all nodes, for the device's own kernels; nothing is read back."""

    def __init__(self, batch: int, most: int, device: torch.device) -> None:
        require_triton("LevelsTriton")
        super().__init__(batch, most, device)
        self.nodes = torch.empty(3, batch, most, dtype=torch.int64, device=device)
        self.scores = torch.empty(batch, most, device=device)

    @staticmethod
    def take(shape: Sequence[int], device: torch.device) -> bool:
        """Whether kernels run there, and levels are small enough for them."""
        pairs = zip((1, *shape), shape, strict=False)
        return kernels.runs_on(device) and all(a * b <= MOST_CANDIDATES for a, b in pairs)

    def choose(
        self, frontier: Frontier, scores: Tensor, log_probs: Tensor, tokens: Tensor, width: int
    ) -> Level:
        batch, rows, each = log_probs.shape
        width, placed = min(width, rows * each), self.placed
        dense = self.nodes.new_empty(2, batch, width)
        if batch:
            with torch.cuda.device_of(dense):  # Triton launches on the current device
                _kernel[batch, triton.cdiv(rows * each, BLOCK)](
                    *(scores, log_probs.float().contiguous(), tokens.contiguous()),
                    *(self.nodes, self.scores, dense, scores.stride(0), rows * each, each, width),
                    *(frontier.first, frontier.depth + 1, placed, batch, self.nodes.shape[2]),
                    block=BLOCK,
                    others=OTHERS,
                )
        return Level(dense[0], self.scores[:, placed : placed + width], dense[1])

    def narrowed(self, level: Level, width: int) -> Level:
        """As it is: a GPU's kernels take as long for a few rows as for more."""
        return level

    def trees(self) -> DraftTrees:
        tokens, parents, depths = self.nodes[:, :, : self.placed]
        return self._sized(tokens, parents, depths, self.scores[:, : self.placed])


@jit("scores_b", "count", "each", "width", "first", "depth", "placed", "batch", "most")
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    scores, log_probs, tokens, nodes, node_scores, dense,
    scores_b, count, each, width, first, depth, placed, batch, most,
    block: tl.constexpr, others: tl.constexpr,
):  # fmt: skip
    """Program ``(request, block of candidates)``: a candidate's place is how many are ahead of it.

    Equally likely ones keep their order; what is no number is the least likely.
    """
    request = tl.program_id(0).to(tl.int64)
    scores += request * scores_b
    log_probs += request * count
    place = tl.program_id(1) * block + tl.arange(0, block)
    real = place < count
    origin = place // each
    total = tl.load(scores + origin, mask=real, other=0.0)
    total += tl.load(log_probs + place, mask=real, other=0.0)
    total = tl.where(total == total, total, float("-inf"))
    rank = tl.zeros([block], tl.int32)
    for start in range(0, count, others):
        other = start + tl.arange(0, others)
        there = other < count
        value = tl.load(scores + other // each, mask=there, other=0.0)
        value += tl.load(log_probs + other, mask=there, other=0.0)
        value = tl.where(value == value, value, float("-inf"))
        ahead = (value[None, :] == total[:, None]) & (other[None, :] < place[:, None])
        ahead = (ahead | (value[None, :] > total[:, None])) & there[None, :]
        rank += tl.sum(ahead.to(tl.int32), 1)

    chosen = real & (rank < width)
    token = tl.load(tokens + request * count + place, mask=chosen, other=0)
    at = request * most + placed + rank
    tl.store(node_scores + at, total, mask=chosen)
    tl.store(nodes + at, token, mask=chosen)
    tl.store(nodes + batch * most + at, (first + origin).to(tl.int64), mask=chosen)
    tl.store(nodes + 2 * batch * most + at, tl.zeros_like(token) + depth, mask=chosen)
    at = request * width + rank
    tl.store(dense + at, token, mask=chosen)
    tl.store(dense + batch * width + at, origin.to(tl.int64), mask=chosen)
