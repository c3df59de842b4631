"""The Triton kernel of :mod:`.paged_triton`, in its three stages."""

from __future__ import annotations

from ..kernels import jit, tl
from .online_softmax import fold, merge

_VARYING = (
    *("width", "folded", "splits", "table_b", "mask_s", "mask_r"),
    *("query_t", "query_h", "out_t", "out_h"),
)


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
def kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    query, keys, values, out, parts, parts_lse, first, counts, prefixes, table, slots, mask,
    scale, folded, splits,
    query_t, query_h, out_t, out_h, key_p, key_h, key_t, key_d, value_p, value_h, value_t, value_d,
    table_b, mask_s, mask_r,
    groups: tl.constexpr, dim: tl.constexpr, block_dim: tl.constexpr, page: tl.constexpr,
    block_rows: tl.constexpr, block_keys: tl.constexpr, masked: tl.constexpr, stage: tl.constexpr,
    least: tl.constexpr,
):  # fmt: skip
    """Program ``(request, KV head, block of folded rows)``, or ``block x part``.

    ``x_y`` is the stride of x along y.
    """
    request, kv_head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    block, split = tl.program_id(2), 0
    if stage == "parts":
        block, split = block // splits, block % splits
    count = tl.load(counts + request)
    prefix = tl.load(prefixes + request)
    place = block * block_rows + tl.arange(0, block_rows)
    column = tl.arange(0, block_dim)
    inside = column < dim
    # Folded by the rows that there are: short trees take few programs, in a wide batch too.
    head, row = kv_head * groups + place // tl.maximum(count, 1), place % tl.maximum(count, 1)
    real = place < groups * count
    some_row = block * block_rows < groups * count  # programs without rows read nothing
    tile = real[:, None] & inside[None, :]
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

    share = tl.cdiv(tl.cdiv(prefix, splits), block_keys) * block_keys
    share = tl.maximum(share, least)  # of this request: short ones have fewer parts
    line = (request * tl.num_programs(1) + kv_head) * splits * folded + place  # of the first part
    begin, end = 0, prefix
    if masked:
        end += count
    if stage == "parts":
        begin = split * share
        end = tl.minimum(begin + share, prefix)
    if stage == "rest":
        begin = prefix
        for part in tl.range(0, tl.where(some_row, tl.cdiv(prefix, share), 0), num_stages=3):
            at = line + part * folded
            lse = tl.load(parts_lse + at, mask=real, other=float("-inf"))
            found = tl.load(parts + at[:, None] * dim + column[None, :], mask=tile, other=0.0)
            top, total, sums = merge(lse, found, top, total, sums)

    if masked:
        mask += tl.load(slots + request).to(tl.int64) * mask_s
    for start in range(begin, tl.where(some_row, end, 0), block_keys):
        key = start + tl.arange(0, block_keys)
        known = key < end
        key_rows, value_rows = _block(
            keys, values, table, key, known, inside, key_p, key_t, value_p, value_t, page
        )
        visible = real[:, None] & known[None, :]
        if masked:
            other = key - prefix  # rows of the tree; all see what is in front of them
            behind = visible & (other >= 0)[None, :]
            seen = tl.load(mask + row[:, None] * mask_r + other[None, :], mask=behind, other=1)
            visible &= seen != 0
        top, total, sums = fold(rows, key_rows, value_rows, visible, scale, top, total, sums)

    total = tl.where(total > 0.0, total, 1.0)
    result = sums / total[:, None]
    if stage == "parts":
        stored = place < tl.where(split * share < prefix, groups * count, 0)
        at = line + split * folded
        tl.store(parts_lse + at, top + tl.log(total), mask=stored)
        tile = stored[:, None] & inside[None, :]
        tl.store(parts + at[:, None] * dim + column[None, :], result, mask=tile)
    else:
        at = (token * out_t + head * out_h)[:, None] + column[None, :]
        tl.store(out + at, result.to(out.dtype.element_ty), mask=tile)
