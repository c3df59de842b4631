"""Self-attention of a level of draft rows over rings, where they lie: one Triton kernel.

Which entries a row sees of its request's ring follows from positions, so nothing is copied or
masked for them. Behind them it sees its own path of nodes: what the row above it saw, and itself.

As in :mod:`proposers.attention.tree_triton` the kernel is an online softmax (arXiv 2205.14135) of
*folded* rows, those of all heads that share a KV head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import jit, require_triton, tl, triton

LEAST_ROWS, MOST_ROWS = 16, 64
"""Folded rows of a program: what a matrix product takes at least; what registers hold at most."""
QUERY_BYTES, BLOCK_BYTES = 32 * 1024, 16 * 1024
"""Of a program's rows, and of a block of its keys: the fewer, the less often it waits for one."""
STAGES = 2
"""Blocks in flight: with these sizes what the shared memory of any GPU holds."""


@dataclass(frozen=True)
class Paths:
    """Who sees whom among the nodes of growing trees.

    Attributes:
        roots: ``[B]`` int64, position of each root, the last that its ring holds.
        depth: of the rows; 0 for the roots themselves, which are no nodes.
        origins: ``[B, W]`` int64, which row of the level above each row grew from.
        above: ``[B, W', n]`` uint8, what the rows above saw of the ``n`` nodes down to them.
        own: ``[B, W, n + W]`` uint8, the same of these rows and their own level; to be written.
    """

    roots: Tensor
    depth: int
    origins: Tensor
    above: Tensor
    own: Tensor

    @classmethod
    def of_roots(cls, roots: Tensor) -> Paths:
        """The first level's: a row for each of ``roots``."""
        none = roots.new_empty(len(roots), 1, 0, dtype=torch.uint8)
        return cls(roots, 0, torch.zeros_like(roots)[:, None], none, none)

    def below(self, origins: Tensor) -> Paths:
        """Of the next level, whose rows grew from ``origins [B, W]`` of this one."""
        batch, width = origins.shape
        own = self.own.new_empty(batch, width, self.own.shape[2] + width)
        return Paths(self.roots, self.depth + 1, origins.contiguous(), self.own, own)


def window_attention(
    query: Tensor, ring: Tensor, slots: Tensor, paths: Paths, window: int
) -> Tensor:
    """Attention of rows over the ring of their slot and over their path; sums are in float32.

    Args:
        query: ``[B, W, heads, d]``, dense.
        ring: ``[2, S, kv_heads, entries, d]`` keys and values, dense along ``d``; behind ``window``
            + 1 entries those of the nodes, these rows' own among them.
        slots: ``[B]`` int64.
        paths: ``own`` is written.
        window: tokens before its own that a row sees.

    Returns:
        ``[B * W, heads * d]``.

    Raises:
        ImportError: Triton is not installed.
    """
    require_triton("window_attention")
    batch, width, heads, dim = query.shape
    kv_heads, groups = ring.shape[2], heads // ring.shape[2]
    out = torch.empty_like(query)
    sizes = blocks(groups * width, dim, ring.element_size())
    above, own = paths.above, paths.own
    with torch.cuda.device_of(query):  # Triton launches on the current device
        _kernel[batch, kv_heads, triton.cdiv(groups * width, sizes["block_rows"])](
            *(query, ring[0], ring[1], slots, paths.roots, paths.origins, above, own, out),
            *(dim**-0.5, window, paths.depth, width, above.shape[2], own.shape[2], slots.stride(0)),
            *(*ring.stride()[1:4], *above.stride()[:2], *own.stride()[:2]),
            groups=groups,
            dim=dim,
            **sizes,
            num_stages=STAGES,
        )
    return out.view(batch * width, heads * dim)


def blocks(folded: int, dim: int, element: int) -> dict[str, int]:
    """Sizes of a program's blocks, for so many folded rows of ``dim`` numbers of so many bytes."""
    block_dim = max(16, triton.next_power_of_2(dim))
    row = block_dim * element
    most = min(MOST_ROWS, QUERY_BYTES // row)
    return {
        "block_dim": block_dim,
        "block_rows": min(max(LEAST_ROWS, triton.next_power_of_2(folded)), most),
        "block_keys": min(max(LEAST_ROWS, BLOCK_BYTES // row), 128),
    }


_VARYING = (
    *("window", "depth", "width", "first", "nodes", "slots_b"),
    *("above_b", "above_w", "own_b", "own_w"),
)


@jit(*_VARYING)
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    query, keys, values, slots, roots, origins, above, own, out,
    scale, window, depth, width, first, nodes, slots_b,
    ring_s, ring_h, ring_e, above_b, above_w, own_b, own_w,
    groups: tl.constexpr, dim: tl.constexpr, block_dim: tl.constexpr, block_rows: tl.constexpr,
    block_keys: tl.constexpr,
):  # fmt: skip
    """Program ``(request, KV head, block of folded rows)``; ``x_y`` is the stride of x along y.

    The first ``first`` of ``nodes`` nodes are above the rows.
    """
    request, kv_head = tl.program_id(0), tl.program_id(1)
    place = tl.program_id(2) * block_rows + tl.arange(0, block_rows)
    head, row = kv_head * groups + place // width, place % width
    real = place < groups * width
    column = tl.arange(0, block_dim)[None, :]
    tile = real[:, None] & (column < dim)
    at = ((request * width + row) * (tl.num_programs(1) * groups) + head) * dim
    rows = tl.load(query + at[:, None] + column, mask=tile, other=0.0)
    top = tl.full([block_rows], float("-inf"), tl.float32)
    total = tl.zeros([block_rows], tl.float32)
    sums = tl.zeros([block_rows, block_dim], tl.float32)

    ring = tl.load(slots + request * slots_b).to(tl.int64) * ring_s + kv_head * ring_h
    root = tl.load(roots + request).to(tl.int32)
    oldest = tl.maximum(root + depth - window, 0)
    held = tl.maximum(root + 1 - oldest, 0)
    origin = tl.load(origins + request * width + row, mask=real, other=0)
    above += request * above_b + origin * above_w
    own += request * own_b + row * own_w
    teller = place < tl.where(kv_head == 0, width, 0)  # one head tells the level below
    for start in range(0, held + nodes, block_keys):
        key = start + tl.arange(0, block_keys)
        node = key - held  # negative in the ring
        known = key < held + nodes
        pairs = real[:, None] & ((node >= 0) & known)[None, :]
        inherited = pairs & (node < first)[None, :]
        seen = tl.load(above[:, None] + node[None, :], mask=inherited, other=0) != 0
        seen = seen | (node[None, :] == first + row[:, None])
        tl.store(own[:, None] + node[None, :], seen.to(tl.uint8), mask=pairs & teller[:, None])
        visible = real[:, None] & known[None, :] & (seen | (node < 0)[None, :])

        entry = tl.where(node < 0, (oldest + key) % (window + 1), window + 1 + node)
        lies = ring + entry[:, None] * ring_e + column
        block = known[:, None] & (column < dim)
        key_rows = tl.load(keys + lies, mask=block, other=0.0)
        scores = tl.dot(rows, tl.trans(key_rows), input_precision="ieee") * scale
        scores = tl.where(visible, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        shift = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
        fade, top = tl.exp(top - shift), higher
        weights = tl.exp(scores - shift[:, None])
        total = total * fade + tl.sum(weights, 1)
        value_rows = tl.load(values + lies, mask=block, other=0.0)
        weights = weights.to(value_rows.dtype)
        sums = tl.dot(weights, value_rows, sums * fade[:, None], input_precision="ieee")

    result = sums / tl.where(total > 0.0, total, 1.0)[:, None]
    tl.store(out + at[:, None] + column, result.to(out.dtype.element_ty), mask=tile)
