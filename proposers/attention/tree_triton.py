"""The masked part on a GPU: one Triton kernel, with the merge into the prefix's result inside it.

The kernel is an online softmax (arXiv 2205.14135) over blocks of tree keys. Its state is a row's
log-sum-exp so far and the output that belongs to it, and that is what the prefix has computed: the
kernel starts from the prefix's state instead of from nothing, and so the merge costs no pass.

A program takes a block of *folded* rows, the ``G * W`` rows of the ``G`` heads that share a KV
head: K and V come from memory once per KV head, however many heads read them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

try:  # not installed with every PyTorch; who does not call the kernel does not need it
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
except ImportError:
    triton = tl = None

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_HEAD_DIM = 256
BLOCK_ROWS = 16
"""The least a matrix product takes, so that one request makes enough programs to occupy a GPU."""
BLOCK_KEYS = 32
"""A tree has tens of keys: larger blocks would mostly be padding."""
STAGES = 2
"""Blocks of keys in flight; more shared memory than that is not on every GPU (256 x float32)."""

_VARYING = (
    *("folded", "width", "key_count", "mask_b", "mask_w"),
    *("lse_b", "lse_h", "before_lse_b", "before_lse_h"),
)
"""Arguments that follow a tree's size: Triton would compile anew for multiples of 16 and for 1."""


def available() -> bool:
    """Whether the kernel can run here: Triton is installed and PyTorch sees a GPU."""
    return triton is not None and torch.cuda.is_available()


def tree_attention_triton(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    scale: float,
    prefix: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Masked attention, alone or merged with attention over other keys; sums are in float32.

    Args:
        query: ``[B, heads, W, d]``; keys, values: ``[B, kv_heads, T, d]``; float32, float16 or
            bfloat16, any strides.
        mask: ``[B, W, T]`` bool, True where the row sees the key; any strides.
        prefix: ``(O [B, heads, W, d], LSE [B, heads, W])`` of keys that are not in ``keys``.

    Returns:
        ``(O, LSE)`` over all keys, LSE in float32. O is in the query's dtype with ``prefix`` and in
        float32 without, as more is to come. A row that sees no key keeps what the prefix says, and
        has O 0 and LSE -inf without it.

    Raises:
        ImportError: Triton is not installed.
        ValueError: shapes or dtypes do not fit.
    """
    if triton is None:
        raise ImportError("tree_attention_triton needs Triton: pip install triton")
    _check(query, keys, values, mask, prefix)
    out, lse = _new_outputs(query, query.dtype if prefix else torch.float32)
    if out.numel():  # a launch of no programs is an error
        with torch.cuda.device_of(query):  # Triton launches on the current device
            _launch(query, keys, values, mask, scale, prefix, out, lse)
    return out, lse


def _launch(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    scale: float,
    prefix: tuple[Tensor, Tensor] | None,
    out: Tensor,
    lse: Tensor,
) -> None:
    batch, heads, width, dim = query.shape
    kv_heads, key_count = keys.shape[1:3]
    folded = heads // kv_heads * width
    seen = mask.view(torch.uint8)
    query, keys, values = map(_rows_dense, (query, keys, values))
    before, before_lse = (_rows_dense(prefix[0]), prefix[1]) if prefix else (out, lse)
    _kernel[batch * kv_heads, triton.cdiv(folded, BLOCK_ROWS)](
        *(query, keys, values, seen, before, before_lse, out, lse),
        *(scale, kv_heads, folded, width, key_count),
        *(*query.stride()[:3], *keys.stride()[:3], *values.stride()[:3], *seen.stride()),
        *(*before.stride()[:3], *before_lse.stride(), *out.stride()[:3], *lse.stride()[:2]),
        groups=heads // kv_heads,
        dim=dim,
        block_dim=max(16, triton.next_power_of_2(dim)),
        block_rows=BLOCK_ROWS,
        block_keys=BLOCK_KEYS,
        merged=prefix is not None,
        num_stages=STAGES,
    )


def _check(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, prefix: tuple[Tensor, Tensor] | None
) -> None:
    batch, heads, width, dim = query.shape
    kv_heads, key_count = keys.shape[1:3]
    if heads % kv_heads:
        raise ValueError(f"{heads} heads over {kv_heads} KV heads; allowed: a multiple")
    if query.dtype not in DTYPES or {keys.dtype, values.dtype} != {query.dtype}:
        names = f"{query.dtype}, {keys.dtype}, {values.dtype}"
        raise ValueError(f"query, keys, values are {names}; allowed: one of {DTYPES} for all")
    if dim > MAX_HEAD_DIM or mask.dtype != torch.bool:
        raise ValueError(f"head size {dim}, mask {mask.dtype}; allowed: to {MAX_HEAD_DIM}, bool")
    wanted = {"keys": keys, "values": values, "mask": mask}
    shapes: list[tuple[int, ...]] = [(batch, kv_heads, key_count, dim)] * 2
    shapes += [(batch, width, key_count)]
    if prefix:
        wanted |= {"the prefix's O": prefix[0], "the prefix's LSE": prefix[1]}
        shapes += [query.shape, query.shape[:-1]]
    for (name, tensor), shape in zip(wanted.items(), shapes, strict=True):
        if tensor.shape != shape:  # the kernel would read outside of it
            raise ValueError(f"{name} is {[*tensor.shape]}; with this query it must be {[*shape]}")


def _rows_dense(tensor: Tensor) -> Tensor:
    """The kernel reads the last dimension as neighbours in memory; all others as they lie."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _new_outputs(query: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """O is stored as ``[B, W, heads, d]``: what the output projection reads."""
    batch, heads, width, dim = query.shape
    out = query.new_empty(batch, width, heads, dim, dtype=dtype).transpose(1, 2)
    return out, query.new_empty(batch, heads, width, dtype=torch.float32)


def _jit(kernel: Any) -> Any:
    return triton.jit(kernel, do_not_specialize=_VARYING) if triton else kernel


@_jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    query, keys, values, seen, before, before_lse, out, lse,
    scale, kv_heads, folded, width, key_count,
    query_b, query_h, query_w, key_b, key_h, key_t, value_b, value_h, value_t,
    mask_b, mask_w, mask_t, before_b, before_h, before_w,
    before_lse_b, before_lse_h, before_lse_w, out_b, out_h, out_w, lse_b, lse_h,
    groups: tl.constexpr, dim: tl.constexpr, block_dim: tl.constexpr,
    block_rows: tl.constexpr, block_keys: tl.constexpr, merged: tl.constexpr,
):  # fmt: skip
    """Program ``(batch * kv_heads, block of folded rows)``; ``x_y`` is the stride of x along y.

    Beyond ``folded`` rows, ``key_count`` keys and ``dim`` columns there is padding of the blocks,
    in any combination: every load and store says so in its mask.
    """
    # 64 bits: a batch of long caches has more entries than 32 bits can count.
    batch = (tl.program_id(0) // kv_heads).to(tl.int64)
    kv_head = (tl.program_id(0) % kv_heads).to(tl.int64)
    place = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    column = tl.arange(0, block_dim)[None, :]
    head, row = kv_head * groups + place // width, place % width
    real = place < folded
    tile = real[:, None] & (column < dim)

    at = batch * query_b + head * query_h + row * query_w
    rows = tl.load(query + at[:, None] + column, mask=tile, other=0.0)
    if merged:
        at = batch * before_lse_b + head * before_lse_h + row * before_lse_w
        top = tl.load(before_lse + at, mask=real, other=float("-inf")).to(tl.float32)
        some = top > float("-inf")  # the output over no keys may be anything, NaN too
        at = batch * before_b + head * before_h + row * before_w
        sums = tl.load(before + at[:, None] + column, mask=tile & some[:, None], other=0.0)
        sums = sums.to(tl.float32)
    else:
        top = tl.full([block_rows], float("-inf"), tl.float32)
        sums = tl.zeros([block_rows, block_dim], tl.float32)

    total = tl.full([block_rows], 1.0, tl.float32)  # of nothing too: it fades by exp(-inf)
    keys += batch * key_b + kv_head * key_h
    values += batch * value_b + kv_head * value_h
    seen += batch * mask_b + row[:, None] * mask_w
    for start in range(0, key_count, block_keys):
        key = start + tl.arange(0, block_keys)
        there = key < key_count
        block = there[:, None] & (column < dim)
        key_rows = tl.load(keys + key[:, None] * key_t + column, mask=block, other=0.0)
        pairs = real[:, None] & there[None, :]
        visible = tl.load(seen + key[None, :] * mask_t, mask=pairs, other=0) != 0
        scores = tl.dot(rows, tl.trans(key_rows), input_precision="ieee") * scale
        scores = tl.where(visible, scores, float("-inf"))

        higher = tl.maximum(top, tl.max(scores, 1))
        shift = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
        fade, top = tl.exp(top - shift), higher
        weights = tl.exp(scores - shift[:, None])
        total = total * fade + tl.sum(weights, 1)
        value_rows = tl.load(values + key[:, None] * value_t + column, mask=block, other=0.0)
        weights = weights.to(value_rows.dtype)
        sums = tl.dot(weights, value_rows, sums * fade[:, None], input_precision="ieee")

    total = tl.where(total > 0.0, total, 1.0)
    at = batch * lse_b + head * lse_h + row
    tl.store(lse + at, top + tl.log(total), mask=real)
    at = batch * out_b + head * out_h + row * out_w
    result = (sums / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + at[:, None] + column, result, mask=tile)
