"""SGLang's token pool on a CPU: attention over it, and moving it.

Layout: a layer's keys and its values are ``[slots, kv_heads, head_dim]`` each, and the pool's
``req_to_token`` (``[requests, context]`` int32) names the slot of each token. Pages only decide
which slots are handed out, so every page size is read alike.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from torch import Tensor

from ..native import library
from ..tree_rows import CacheLayout, TreeRows, masked_attention, native_attention

TILE = 64  # tokens that the kernel reads at a time


def layout(keys: Tensor, values: Tensor) -> CacheLayout:
    """A layer's pool as the native kernel reads it."""
    return CacheLayout("slots", keys, values, keys.shape[1], TILE, keys.stride(0), keys.stride(1))


def tree_attention(
    query: Tensor, keys: Tensor, values: Tensor, out: Tensor, rows: TreeRows, scale: float
) -> None:
    """Masked attention of tree rows over one layer's pool, written into ``out``.

    Args:
        query, out: ``[rows, heads, head_dim]``, contiguous in the last two dimensions.
        keys, values: ``[slots, kv_heads, head_dim]``.
    """
    if not native_attention(query, out, rows, layout(keys, values), scale):
        tree_attention_torch(query, keys, values, out, rows, scale)


def tree_attention_torch(
    query: Tensor, keys: Tensor, values: Tensor, out: Tensor, rows: TreeRows, scale: float
) -> None:
    """The same in plain torch."""
    for b, (first, last) in enumerate(zip(rows.first_row[:-1], rows.first_row[1:], strict=True)):
        visible = rows.visible(b)
        slots = rows.table[rows.table_row[b], : visible.shape[1]].long()
        k, v = keys[slots].transpose(0, 1), values[slots].transpose(0, 1)
        out[first:last] = masked_attention(query[first:last], k, v, visible, scale)


def move_slots(buffers: Sequence[Tensor], source: Tensor, target: Tensor) -> None:
    """Copy slots ``source`` to ``target`` (``[n]`` int64) in all buffers, in order.

    A path's slots ascend and a target is never a later source, so the order makes it safe.
    """
    native = library()
    if native is None:
        for buffer in buffers:
            buffer[target] = buffer[source]
        return
    pointers = (ctypes.c_void_p * len(buffers))(*(buffer.data_ptr() for buffer in buffers))
    slots = ctypes.c_void_p(source.data_ptr()), ctypes.c_void_p(target.data_ptr())
    counts = ctypes.c_int64(len(buffers)), ctypes.c_int64(len(source))
    row = ctypes.c_int64(buffers[0].stride(0) * buffers[0].element_size())
    native.move_slots(pointers, counts[0], *slots, counts[1], row)
