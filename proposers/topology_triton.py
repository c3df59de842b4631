"""What a step needs to know of its trees' shapes, by slot, from one Triton kernel.

In plain torch that is :func:`proposers.tree.ancestor_mask`, two operators a level, and some ten
around it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import jit, require_triton, tl, triton
from .tree import DraftTrees

BLOCK = 32
"""Rows of a program."""


def write_topology(
    trees: DraftTrees, slots: Tensor, parents: Tensor, depths: Tensor, sizes: Tensor, mask: Tensor
) -> None:
    """Write trees to the lines ``slots``; what lies behind the ``N`` nodes of ``trees`` stays.

    Args:
        slots: ``[B]`` int64. Of trees for one slot any may be what is kept.
        parents, depths: ``[S, at least N]`` int64, as in :class:`proposers.tree.DraftTrees`.
        sizes: ``[S]`` int64.
        mask: ``[S, at least N + 1, at least N + 1]`` uint8, as :func:`proposers.tree.ancestor_mask`
            has it.

    Raises:
        ImportError: Triton is not installed.
    """
    require_triton("write_topology")
    batch, nodes = trees.tokens.shape
    if batch:
        with torch.cuda.device_of(slots):  # Triton launches on the current device
            _kernel[batch, triton.cdiv(nodes + 1, BLOCK)](
                *(trees.parents, trees.depths, trees.sizes, slots, parents, depths, sizes, mask),
                *(nodes, trees.levels, *trees.parents.stride(), *trees.depths.stride()),
                *(parents.stride(0), depths.stride(0), *mask.stride()[:2]),
                block=BLOCK,
                columns=triton.next_power_of_2(nodes + 1),
            )


@jit("nodes", "levels", "above_b", "depth_b")
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    above, depth, size, slots, parents, depths, sizes, mask,
    nodes, levels, above_b, above_n, depth_b, depth_n, parents_s, depths_s, mask_s, mask_r,
    block: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Program ``(request, block of rows)``: each row goes up its path, a level at a time."""
    request = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + request).to(tl.int64)
    above += request * above_b
    row = tl.program_id(1) * block + tl.arange(0, block)
    real, column = row <= nodes, tl.arange(0, columns)[None, :]
    seen = (column == 0) | (column == row[:, None])
    here = row
    for _ in range(levels):
        parent = tl.load(above + (here - 1) * above_n, mask=real & (here > 0), other=-1)
        here = (parent + 1).to(tl.int32)
        seen = seen | (column == here[:, None])
    at = mask + slot * mask_s + row[:, None] * mask_r + column
    tl.store(at, seen.to(tl.uint8), mask=real[:, None] & (column <= nodes))

    node, some = row - 1, real & (row > 0)
    parent = tl.load(above + node * above_n, mask=some, other=-1)
    tl.store(parents + slot * parents_s + node, parent, mask=some)
    deep = tl.load(depth + request * depth_b + node * depth_n, mask=some, other=1)
    tl.store(depths + slot * depths_s + node, deep, mask=some)
    tl.store(sizes + slot, tl.load(size + request))  # by each of the request's programs
