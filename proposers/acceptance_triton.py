"""The walk of :mod:`.acceptance` in one Triton kernel, where every row's next token is known.

In plain torch it is some ten operators a level, each a launch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .acceptance import Walk
from .kernels import jit, require_triton, tl, triton


def greedy_walk_triton(
    drawn: Tensor,
    drafted: Tensor,
    bounds: Tensor,
    slots: Tensor,
    parents: Tensor,
    sizes: Tensor,
    levels: int,
) -> Walk:
    """Walk down the trees of a step, kept by slot; nothing is read back.

    Args:
        drawn: ``[rows]`` int64, the target's next token at every row, 0 or more.
        drafted: ``[rows]`` the token of every row, as the target saw it; -1 is a node that may not
            be accepted.
        bounds: ``[B + 1]`` where each request's rows begin: its root, then the nodes that were
            scheduled.
        slots: ``[B]`` each request's line of ``parents`` and ``sizes``.
        parents: ``[S, N]`` int64, as in :class:`proposers.tree.DraftTrees`.
        sizes: ``[S]`` int64, nodes of each tree; of these count no more than were scheduled.
        levels: no node is deeper.

    Returns:
        the walk of :func:`proposers.acceptance.greedy_walk` with ``static``: ``D`` is ``levels``.

    Raises:
        ImportError: Triton is not installed.
    """
    require_triton("greedy_walk_triton")
    batch = len(slots)
    tokens, rows = drawn.new_empty(2, batch, levels + 1, dtype=torch.int64)
    accepted = drawn.new_empty(batch, dtype=torch.int64)
    if batch:
        with torch.cuda.device_of(drawn):  # Triton launches on the current device
            _kernel[(batch,)](
                *(drawn, drafted, bounds, slots, parents, sizes, tokens, rows, accepted),
                *(len(drawn), parents.shape[1], *parents.stride(), levels),
                block_nodes=triton.next_power_of_2(max(parents.shape[1], 1)),
                num_warps=1,  # tens of nodes
            )
    return Walk(tokens, rows, accepted)


@jit("row_count")
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    drawn, drafted, bounds, slots, parents, sizes, tokens, rows, accepted,
    row_count, nodes, parent_s, parent_n, levels, block_nodes: tl.constexpr,
):  # fmt: skip
    """A program walks down the tree of one request."""
    request = tl.program_id(0)
    first = tl.load(bounds + request).to(tl.int64)
    slot = tl.load(slots + request).to(tl.int64)
    scheduled = tl.load(bounds + request + 1).to(tl.int64) - first - 1
    node = tl.arange(0, block_nodes)
    real = node < tl.minimum(tl.minimum(tl.load(sizes + slot), scheduled), nodes)
    parent = tl.load(parents + slot * parent_s + node * parent_n, mask=real, other=-1)
    token = tl.load(drafted + first + 1 + node, mask=real, other=-1).to(tl.int64)

    row = first * 0
    active = row == 0
    count = row
    tokens += request * (levels + 1)
    rows += request * (levels + 1)
    for level in range(levels + 1):
        # A request that a graph's padding adds may have no row, not even a root.
        here = tl.load(drawn + tl.minimum(first + row, row_count - 1))
        tl.store(tokens + level, tl.where(active, here, -1))
        tl.store(rows + level, tl.where(active, row, -1))
        child = tl.min(tl.where(real & (parent == row - 1) & (token == here), node, block_nodes), 0)
        active = active & (child < block_nodes)
        row = tl.where(active, child + 1, row)
        count += active.to(tl.int64)
    tl.store(accepted + request, count)
