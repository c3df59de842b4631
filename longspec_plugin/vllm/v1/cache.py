"""vLLM's CPU KV cache: where a token's K and V lie, attention over it, and moving it.

Layout ("vec", the one our backend asks for): ``[blocks, kv_heads, block_size, 2 * head_dim]``
elements, of which each (block, head) holds K as ``[head_dim, block_size]``, then V as
``[block_size, head_dim]``. :func:`check_layout` writes known values through vLLM's own operator
and reads them back, so a vLLM that stores KV otherwise is refused at start instead of answering
wrongly.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from proposers.native import DTYPES

from ...errors import LongSpecError
from ...native import Problem, library
from ...tree_rows import CacheLayout, NewTokens, TreeRows, masked_attention, native_attention

ISA = "vec"


def views(cache: Tensor) -> tuple[Tensor, Tensor]:
    """K and V of a layer's cache as ``[blocks, kv_heads, block_size, head_dim]`` views."""
    blocks, heads, block_size, double = cache.shape
    dim = double // 2
    halves = cache.view(blocks, heads, 2, block_size * dim)
    keys = halves[:, :, 0].unflatten(2, (dim, block_size)).transpose(2, 3)
    return keys, halves[:, :, 1].unflatten(2, (block_size, dim))


def check_layout(dtype: torch.dtype, head_dim: int, block_size: int) -> None:
    """Raise LongSpecError unless vLLM's operator stores KV where :func:`views` reads it."""
    from vllm import _custom_ops as ops

    cache = torch.zeros(2, 2, block_size, 2 * head_dim, dtype=dtype)
    key, value = torch.randn(2, 3, 2, head_dim, dtype=dtype).unbind()
    slots = torch.tensor([1, block_size - 1, block_size + 5])
    parts = cache.view(2, 2, 2 * block_size, head_dim).chunk(2, dim=2)
    ops.cpu_attn_reshape_and_cache(
        key, value, *parts, slots, ISA, k_scale=1.0, v_scale=1.0, kv_cache_dtype="auto"
    )
    keys, values = views(cache)
    block, offset = slots // block_size, slots % block_size
    if not (
        torch.equal(keys[block, :, offset], key) and torch.equal(values[block, :, offset], value)
    ):
        raise LongSpecError(
            f"the CPU KV cache layout of this vLLM build is not known (dtype={dtype},"
            f" head size {head_dim}); use a supported vLLM version or another method"
        )


def layout(cache: Tensor) -> CacheLayout:
    """The cache as the native kernel reads it."""
    _, heads, block_size, _ = cache.shape
    return CacheLayout("blocks", cache, cache, heads, block_size, cache.stride(0), cache.stride(1))


def tree_attention(
    query: Tensor,
    cache: Tensor,
    out: Tensor,
    rows: TreeRows,
    scale: float,
    new: NewTokens | None = None,
) -> None:
    """Masked attention of tree rows over one layer's cache, written into ``out``.

    Args:
        query, out: ``[rows, heads, head_dim]``, contiguous in the last two dimensions.
        new: what the cache lacks of these rows.
    """
    if not native_attention(query, out, rows, layout(cache), scale, new):
        if new is not None:
            write(new, cache)
        tree_attention_torch(query, cache, out, rows, scale)


def write(new: NewTokens, cache: Tensor) -> None:
    """Put new tokens into their slots, in plain torch."""
    real = new.slots >= 0
    slots, size = new.slots[real], cache.shape[2]
    for part, tokens in zip(views(cache), (new.keys, new.values), strict=True):
        part[slots // size, :, slots % size] = tokens[: len(real)][real]


def tree_attention_torch(
    query: Tensor, cache: Tensor, out: Tensor, rows: TreeRows, scale: float
) -> None:
    """The same in plain torch."""
    keys, values = views(cache)
    block_size = cache.shape[2]
    for b, (first, last) in enumerate(zip(rows.first_row[:-1], rows.first_row[1:], strict=True)):
        visible = rows.visible(b)
        length = visible.shape[1]
        used = rows.table[rows.table_row[b], : -(-length // block_size)].long()
        k = keys[used].transpose(0, 1).flatten(1, 2)[:, :length]
        v = values[used].transpose(0, 1).flatten(1, 2)[:, :length]
        out[first:last] = masked_attention(query[first:last], k, v, visible, scale)


def move_slots(caches: Sequence[Tensor], source: Tensor, target: Tensor) -> None:
    """Copy the KV of slots ``source`` to ``target`` (``[n]`` int64) in all layers, in order."""
    first = caches[0]
    native = library() if first.dtype in DTYPES else None
    if native is None:
        _move_slots_torch(caches, source, target)
        return
    layers = (ctypes.c_void_p * len(caches))(*(cache.data_ptr() for cache in caches))
    shape = Problem(
        kv_heads=first.shape[1],
        head_dim=first.shape[3] // 2,
        block_size=first.shape[2],
        cache_stride=first.stride(0),
        head_stride=first.stride(1),
    )
    move = getattr(native, f"move_blocks_{DTYPES[first.dtype]}")
    slots = ctypes.c_void_p(source.data_ptr()), ctypes.c_void_p(target.data_ptr())
    counts = ctypes.c_int64(len(caches)), ctypes.c_int64(len(source))
    move(layers, counts[0], *slots, counts[1], ctypes.byref(shape))


def _move_slots_torch(caches: Sequence[Tensor], source: Tensor, target: Tensor) -> None:
    size = caches[0].shape[2]
    for cache in caches:
        for part in views(cache):
            part[target // size, :, target % size] = part[source // size, :, source % size]
