"""The masked part on a GPU: one Triton kernel, with the merge into the prefix's result inside it.

The kernel is an online softmax (arXiv 2205.14135) over blocks of tree keys. Its state is a row's
log-sum-exp so far and the output that belongs to it, and that is what the prefix has computed: the
kernel starts from the prefix's state instead of from nothing, and so the merge costs no pass.

A program takes a block of *folded* rows, the ``G * W`` rows of the ``G`` heads that share a KV
head: K and V come from memory once per KV head, however many heads read them.

Trees come as a batch of one width, or *ragged*: as the rows of an engine's step, where the device
knows whose they are. A ragged batch differs in where a request's rows begin and how many they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import available, jit, require_triton, tl, triton
from .checks import Wanted, check_numbers, check_shapes
from .online_softmax import fold
from .rows import PagedRows

__all__ = ["available", "ragged_tree_attention_triton", "tree_attention_triton"]

BLOCK_ROWS = 16
"""The least a matrix product takes, so that one request makes enough programs to occupy a GPU."""
BLOCK_KEYS, BLOCK_BYTES = 32, 16 * 1024
"""The most of a block: a tree has tens of keys, and larger blocks would mostly be padding."""
STAGES = 2
"""Blocks of keys in flight; more shared memory than that is not on every GPU (256 x float32)."""

Parts = tuple[Tensor, Tensor]
"""``(O, LSE)`` of attention."""


def tree_attention_triton(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    scale: float,
    prefix: Parts | None = None,
) -> Parts:
    """Masked attention, alone or merged with attention over other keys; sums are in float32.

    Args:
        query: ``[B, heads, W, d]``; keys, values: ``[B, kv_heads, T, d]``; float32, float16 or
            bfloat16, any strides.
        mask: ``[B, W, T]`` bool, True where the row sees the key; any strides.
        prefix: ``(O [B, heads, W, d], LSE [B, heads, W])`` of keys that are not in ``keys``. An LSE
            of -inf, or of +inf as FlashAttention has it, says that a row had no keys: its O is not
            read.

    Returns:
        ``(O, LSE)`` over all keys, LSE in float32. O is in the query's dtype with ``prefix`` and in
        float32 without, as more is to come. A row that sees no key keeps what the prefix says, and
        has O 0 and LSE -inf without it.

    Raises:
        ImportError: Triton is not installed.
        ValueError: shapes or dtypes do not fit.
    """
    require_triton("tree_attention_triton")
    _check(query, keys, values, mask, prefix)
    out, lse = _new_outputs(query, query.dtype if prefix else torch.float32)
    if out.numel():  # a launch of no programs is an error
        sizes = (len(query), query.shape[2], keys.shape[2])
        seen = mask.view(torch.uint8)
        _launch((query, keys, values), seen, scale, prefix, (out, lse), sizes, None)
    return out, lse


def ragged_tree_attention_triton(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    out: Tensor,
    rows: PagedRows,
    scale: float,
    prefix: Parts,
) -> None:
    """The same for the trees of a step, merged with their prefixes and written into ``out``.

    Nothing is read back and all that varies is read on the device: a captured launch may be played
    again for other rows, counts, slots and masks.

    Args:
        query, out: ``[rows, heads, d]``, dense along ``d``. Rows that ``rows`` does not name stay.
        keys, values: ``[rows, kv_heads, d]``, of the same rows, such as views of a fused QKV.
        rows: with a mask; its ``prefix`` and ``table`` are not read.
        prefix: ``(O [rows, heads, d], LSE [heads, rows] float32)``, as FlashAttention returns them;
            O may be ``out`` itself. Rows of no keys as in :func:`tree_attention_triton`.

    Raises:
        ImportError: Triton is not installed.
        ValueError: shapes or dtypes do not fit, or ``rows`` has no mask.
    """
    require_triton("ragged_tree_attention_triton")
    _check_ragged(query, keys, values, out, rows, prefix)
    if rows.mask is not None and len(rows.first):
        sizes = (len(rows.first), rows.width, rows.width)
        before = (prefix[0], prefix[1].mT)  # the step's rows first, as of all others
        _launch((query, keys, values), rows.mask, scale, before, (out, before[1]), sizes, rows)


def _launch(
    inputs: tuple[Tensor, Tensor, Tensor],
    seen: Tensor,
    scale: float,
    prefix: Parts | None,
    outputs: Parts,
    sizes: tuple[int, int, int],
    rows: PagedRows | None,
) -> None:
    """``sizes``: requests, rows and keys of each (the most, where they are ragged)."""
    (out, lse), (batch, width, key_count) = outputs, sizes
    query, keys, values = map(_rows_dense, inputs)
    before, before_lse = (_rows_dense(prefix[0]), prefix[1]) if prefix else outputs
    places = (rows.first, rows.counts, rows.slots) if rows else (seen, seen, seen)  # not read
    kv_heads, dim = keys.shape[1], query.shape[-1]
    groups = query.shape[1] // kv_heads
    strided = (query, keys, values, before, before_lse, out, lse)
    strides = [along for part in strided for along in _strides(part, rows is not None)]
    with torch.cuda.device_of(query):  # Triton launches on the current device
        _kernel[batch * kv_heads, triton.cdiv(groups * width, BLOCK_ROWS)](
            *(query, keys, values, seen, before, before_lse, out, lse, *places),
            *(scale, kv_heads, width, key_count, *seen.stride(), *strides),
            groups=groups,
            dim=dim,
            **_blocks(dim, query.element_size()),
            merged=prefix is not None,
            ragged=rows is not None,
            num_stages=STAGES,
        )


def _blocks(dim: int, element: int) -> dict[str, int]:
    block_dim = max(16, triton.next_power_of_2(dim))
    block_keys = min(BLOCK_KEYS, BLOCK_BYTES // (block_dim * element))
    return {"block_dim": block_dim, "block_rows": BLOCK_ROWS, "block_keys": block_keys}


def _strides(part: Tensor, ragged: bool) -> tuple[int, ...]:
    """Along requests, heads and rows; a ragged request begins at one of the step's rows."""
    row, head = part.stride()[:2]
    return (row, head, row) if ragged else part.stride()[:3]


def _check(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, prefix: Parts | None) -> None:
    batch, _, width, dim = query.shape
    kv_heads, key_count = keys.shape[1:3]
    check_numbers(query, keys, values, mask.dtype, torch.bool)
    wanted: Wanted = {"keys": (keys, (batch, kv_heads, key_count, dim))}
    wanted["values"] = values, (batch, kv_heads, key_count, dim)
    wanted["mask"] = mask, (batch, width, key_count)
    if prefix:
        wanted["the prefix's O"] = prefix[0], query.shape
        wanted["the prefix's LSE"] = prefix[1], query.shape[:-1]
    check_shapes(wanted)


def _check_ragged(
    query: Tensor, keys: Tensor, values: Tensor, out: Tensor, rows: PagedRows, prefix: Parts
) -> None:
    count, heads, dim = query.shape
    mask = None if rows.mask is None else rows.mask.dtype
    check_numbers(query, keys, values, mask, torch.uint8)
    if out.stride(-1) != 1:
        raise ValueError(f"out has stride {out.stride(-1)} along the head; allowed: 1")
    wanted: Wanted = {"out": (out, query.shape), "keys": (keys, (count, keys.shape[1], dim))}
    wanted["values"] = values, keys.shape
    wanted["the prefix's O"] = prefix[0], query.shape
    wanted["the prefix's LSE"] = prefix[1], (heads, count)
    check_shapes(wanted)


def _rows_dense(tensor: Tensor) -> Tensor:
    """The kernel reads the last dimension as neighbours in memory; all others as they lie."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _new_outputs(query: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """O is stored as ``[B, W, heads, d]``: what the output projection reads."""
    batch, heads, width, dim = query.shape
    out = query.new_empty(batch, width, heads, dim, dtype=dtype).transpose(1, 2)
    return out, query.new_empty(batch, heads, width, dtype=torch.float32)


_VARYING = (
    *("width", "key_count", "mask_b", "mask_w"),
    *("lse_b", "lse_h", "before_lse_b", "before_lse_h"),
)


@jit(*_VARYING)
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    query, keys, values, seen, before, before_lse, out, lse, first, counts, slots,
    scale, kv_heads, width, key_count, mask_b, mask_w, mask_t,
    query_b, query_h, query_w, key_b, key_h, key_t, value_b, value_h, value_t,
    before_b, before_h, before_w, before_lse_b, before_lse_h, before_lse_w,
    out_b, out_h, out_w, lse_b, lse_h, lse_w,
    groups: tl.constexpr, dim: tl.constexpr, block_dim: tl.constexpr, block_rows: tl.constexpr,
    block_keys: tl.constexpr, merged: tl.constexpr, ragged: tl.constexpr,
):  # fmt: skip
    """Program ``(batch * kv_heads, block of folded rows)``; ``x_y`` is the stride of x along y.

    Beyond the folded rows, ``key_count`` keys and ``dim`` columns there is padding of the blocks,
    in any combination: every load and store says so in its mask.
    """
    request = tl.program_id(0) // kv_heads
    # 64 bits: a batch of long caches has more entries than 32 bits can count.
    kv_head = (tl.program_id(0) % kv_heads).to(tl.int64)
    place = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    if ragged:
        batch = tl.load(first + request).to(tl.int64)
        line = tl.load(slots + request).to(tl.int64)
        width = tl.load(counts + request)
        some_row = tl.program_id(1) * block_rows < groups * width
        key_count = tl.where(some_row, width, 0)  # programs without rows read nothing
    else:
        batch = request.to(tl.int64)
        line = batch
    column = tl.arange(0, block_dim)[None, :]
    # Folded by the rows that there are: short trees take few programs, in a wide batch too.
    head, row = kv_head * groups + place // tl.maximum(width, 1), place % tl.maximum(width, 1)
    real = place < groups * width
    tile = real[:, None] & (column < dim)

    at = batch * query_b + head * query_h + row * query_w
    rows = tl.load(query + at[:, None] + column, mask=tile, other=0.0)
    if merged:
        at = batch * before_lse_b + head * before_lse_h + row * before_lse_w
        top = tl.load(before_lse + at, mask=real, other=float("-inf")).to(tl.float32)
        some = tl.abs(top) < float("inf")  # the output over no keys may be anything, NaN too
        top = tl.where(some, top, float("-inf"))
        at = batch * before_b + head * before_h + row * before_w
        sums = tl.load(before + at[:, None] + column, mask=tile & some[:, None], other=0.0)
        sums = sums.to(tl.float32)
    else:
        top = tl.full([block_rows], float("-inf"), tl.float32)
        sums = tl.zeros([block_rows, block_dim], tl.float32)

    total = tl.full([block_rows], 1.0, tl.float32)  # of nothing too: it fades by exp(-inf)
    keys += batch * key_b + kv_head * key_h
    values += batch * value_b + kv_head * value_h
    seen += line * mask_b + row[:, None] * mask_w
    for start in range(0, key_count, block_keys):
        key = start + tl.arange(0, block_keys)
        there = key < key_count
        block = there[:, None] & (column < dim)
        key_rows = tl.load(keys + key[:, None] * key_t + column, mask=block, other=0.0)
        pairs = real[:, None] & there[None, :]
        visible = tl.load(seen + key[None, :] * mask_t, mask=pairs, other=0) != 0
        value_rows = tl.load(values + key[:, None] * value_t + column, mask=block, other=0.0)
        top, total, sums = fold(
            rows, tl.trans(key_rows), value_rows, visible, scale, top, total, sums
        )

    total = tl.where(total > 0.0, total, 1.0)
    if not ragged:
        at = batch * lse_b + head * lse_h + row * lse_w
        tl.store(lse + at, top + tl.log(total), mask=real)
    at = batch * out_b + head * out_h + row * out_w
    result = (sums / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + at[:, None] + column, result, mask=tile)
