"""Attention of many requests' tree rows over a paged cache: one Triton kernel for a whole step.

A row sees all of its request's prefix, and behind it the rows of its own tree that a mask names.
All that changes from step to step (where rows lie, lengths, tables, masks) is read from tensors on
the device, so a launch can be captured in a graph and replayed when they have changed. Without a
mask the same kernel is the draft's attention over the target's keys and values.

As in :mod:`.tree_triton` the kernel is an online softmax (arXiv 2205.14135), and a program takes
*folded* rows, the rows of all heads that share a KV head: what a long prefix costs is reading it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import jit, require_triton, tl, triton
from .rows import PagedRows
from .tree_triton import STAGES

__all__ = ["PagedKV", "PagedRows", "paged_attention"]

LEAST_ROWS, MOST_ROWS = 16, 64
"""Folded rows of a program: what a matrix product takes at least; what registers hold at most."""
BLOCK_KEYS = 32

_VARYING = (
    *("folded", "width", "table_b", "mask_s", "mask_r"),
    *("query_t", "query_h", "out_t", "out_h"),
)


def paged_attention(
    query: Tensor, keys: Tensor, values: Tensor, out: Tensor, rows: PagedRows, scale: float
) -> None:
    """Attention of the rows that ``rows`` names, written into ``out``; other rows stay.

    Args:
        query, out: ``[rows, heads, d]``, dense along ``d``.
        keys, values: ``[pages, kv_heads, page size, d]``, any strides.

    Raises:
        ImportError: Triton is not installed.
    """
    require_triton("paged_attention")
    _, heads, dim = query.shape
    kv_heads, page = keys.shape[1:3]
    folded = heads // kv_heads * rows.width
    block_rows = min(max(LEAST_ROWS, triton.next_power_of_2(folded)), MOST_ROWS)
    masked = rows.mask is not None
    mask = rows.table if rows.mask is None else rows.mask  # something to point to
    _kernel[len(rows.prefix), kv_heads, triton.cdiv(folded, block_rows)](
        *(query, keys, values, out, rows.first, rows.counts, rows.prefix, rows.table),
        *(rows.slots, mask, scale, folded, rows.width),
        *(*query.stride()[:2], *out.stride()[:2], *keys.stride(), *values.stride()),
        *(rows.table.stride(0), *mask.stride()[:2]),
        groups=heads // kv_heads,
        dim=dim,
        block_dim=max(16, triton.next_power_of_2(dim)),
        page=page,
        block_rows=block_rows,
        block_keys=BLOCK_KEYS,
        masked=masked,
        num_stages=STAGES,
    )


@dataclass(frozen=True)
class PagedKV:
    """One layer's cache as a :class:`proposers.base.TargetKV`.

    Attributes:
        keys, values: as in :func:`paged_attention`.
        prefix: ``[B]`` int32, tokens before the root.
        table: ``[B, T]`` int32.
    """

    keys: Tensor
    values: Tensor
    prefix: Tensor
    table: Tensor
    scale: float

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, d]`` over the ``prefix`` first tokens of each request."""
        batch, width = query.shape[:2]
        each = torch.arange(batch, dtype=torch.int32, device=query.device)
        counts = torch.full_like(each, width)
        rows = PagedRows(width, each * width, counts, self.prefix, self.table, each, None)
        flat = query.flatten(0, 1).contiguous()
        out = torch.empty_like(flat)
        paged_attention(flat, self.keys, self.values, out, rows, self.scale)
        return out.view_as(query)


@jit()
def _fold(rows, key_rows, value_rows, visible, scale, top, total, sums):  # type: ignore[no-untyped-def]
    """The softmax so far (largest score, sum of weights, weighted values), and a block of keys."""
    scores = tl.dot(rows, key_rows, input_precision="ieee") * scale
    scores = tl.where(visible, scores, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, 1))
    shift = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
    fade = tl.exp(top - shift)
    weights = tl.exp(scores - shift[:, None])
    total = total * fade + tl.sum(weights, 1)
    weights = weights.to(value_rows.dtype)
    sums = tl.dot(weights, value_rows, sums * fade[:, None], input_precision="ieee")
    return higher, total, sums


@jit()
def _block(  # type: ignore[no-untyped-def]
    keys, values, table, key, known, inside, key_p, key_t, value_p, value_t, page: tl.constexpr
):  # fmt: skip
    """Keys ``[d, block]`` and values ``[block, d]`` of the tokens ``key``, where ``known``."""
    pages = tl.load(table + key // page, mask=known, other=0).to(tl.int64)
    at = pages * key_p + key % page * key_t
    key_rows = tl.load(keys + at[None, :], mask=inside[:, None] & known[None, :], other=0.0)
    at = pages * value_p + key % page * value_t
    value_rows = tl.load(values + at[:, None], mask=known[:, None] & inside[None, :], other=0.0)
    return key_rows, value_rows


@jit(*_VARYING)
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    query, keys, values, out, first, counts, prefixes, table, slots, mask,
    scale, folded, width,
    query_t, query_h, out_t, out_h, key_p, key_h, key_t, key_d, value_p, value_h, value_t, value_d,
    table_b, mask_s, mask_r,
    groups: tl.constexpr, dim: tl.constexpr, block_dim: tl.constexpr, page: tl.constexpr,
    block_rows: tl.constexpr, block_keys: tl.constexpr, masked: tl.constexpr,
):  # fmt: skip
    """Program ``(request, KV head, block of folded rows)``; ``x_y`` is the stride of x along y."""
    request, kv_head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    count = tl.load(counts + request)
    prefix = tl.load(prefixes + request)
    place = tl.program_id(2) * block_rows + tl.arange(0, block_rows)
    column = tl.arange(0, block_dim)
    head, row = kv_head * groups + place // width, place % width
    real = (place < folded) & (row < count)
    tile = real[:, None] & (column < dim)[None, :]
    token = (tl.load(first + request) + row).to(tl.int64)
    rows = tl.load(
        query + (token * query_t + head * query_h)[:, None] + column[None, :], mask=tile, other=0.0
    )
    top = tl.full([block_rows], float("-inf"), tl.float32)
    total = tl.zeros([block_rows], tl.float32)
    sums = tl.zeros([block_rows, block_dim], tl.float32)
    table += request * table_b
    keys += kv_head * key_h + column[:, None] * key_d
    values += kv_head * value_h + column[None, :] * value_d
    inside = column < dim

    seen_by_all = tl.where(count > 0, prefix, 0)  # a request without rows reads nothing
    for start in range(0, seen_by_all, block_keys):
        key = start + tl.arange(0, block_keys)
        known = key < prefix
        key_rows, value_rows = _block(
            keys, values, table, key, known, inside, key_p, key_t, value_p, value_t, page
        )
        visible = real[:, None] & known[None, :]
        top, total, sums = _fold(rows, key_rows, value_rows, visible, scale, top, total, sums)

    if masked:
        mask += tl.load(slots + request).to(tl.int64) * mask_s
        for start in range(0, count, block_keys):
            other = start + tl.arange(0, block_keys)
            known = other < count
            key_rows, value_rows = _block(
                keys, values, table, prefix + other, known, inside,
                key_p, key_t, value_p, value_t, page,
            )  # fmt: skip
            pairs = real[:, None] & known[None, :]
            seen = tl.load(mask + row[:, None] * mask_r + other[None, :], mask=pairs, other=0)
            visible = pairs & (seen != 0)
            top, total, sums = _fold(rows, key_rows, value_rows, visible, scale, top, total, sums)

    result = sums / tl.where(total > 0.0, total, 1.0)[:, None]
    at = (token * out_t + head * out_h)[:, None] + column[None, :]
    tl.store(out + at, result.to(out.dtype.element_ty), mask=tile)
