"""Tree rows over a CPU KV cache: what the adapters hand to the native kernel."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from proposers.native import DTYPES

from .native import Problem, library

CHAIN = 32
"""Rows of a prompt that are attended together."""


@dataclass(frozen=True)
class TreeRows:
    """Which query rows belong to trees, and what each of them may see.

    Attributes:
        first_row: ``[B + 1]`` int64 prefix sums of query rows.
        prefix: ``[B]`` int64, tokens before the root: visible to every row.
        tail: ``[B]`` int64, tree slots behind the prefix (root included): visible by mask.
        mask: ``[B, M, M]`` uint8, tree row sees tree slot.
        table: ``[*, T]`` int32, where each request's tokens lie in the cache.
        table_row: ``[B]`` int64, each request's row of the table.
    """

    first_row: Tensor
    prefix: Tensor
    tail: Tensor
    mask: Tensor
    table: Tensor
    table_row: Tensor

    @cached_property
    def problem(self) -> Problem:
        """What the kernel is told of them, the same in all layers."""
        names = ("table", "table_row", "first_row", "prefix", "tail", "mask")
        return Problem(
            **{name: getattr(self, name).data_ptr() for name in names},
            batch=len(self.prefix),
            table_stride=self.table.stride(0),
            mask_width=self.mask.shape[2],
        )

    def visible(self, request: int) -> Tensor:
        """``[rows, prefix + tail]`` bool: the mask of one request, in full."""
        count = int(self.first_row[request + 1] - self.first_row[request])
        prefix, tail = int(self.prefix[request]), int(self.tail[request])
        seen = torch.ones(count, prefix + tail, dtype=torch.bool)
        seen[:, prefix:] = self.mask[request, :count, :tail].bool()
        return seen


def prefix_rows(width: int, prefix: Tensor, table: Tensor, table_row: Tensor) -> TreeRows:
    """``width`` rows a request that see its prefix alone, as the draft's cross-attention does."""
    count = len(prefix)
    none = torch.zeros(count, dtype=torch.int64)
    no_mask = torch.zeros(count, 1, 1, dtype=torch.uint8)
    return TreeRows(torch.arange(count + 1) * width, prefix, none, no_mask, table, table_row)


def step_rows(
    lengths: Tensor, prefix: Tensor, table: Tensor, carries: Tensor, mask: Tensor
) -> TreeRows:
    """All rows of a step: those of trees by their masks, and others, such as a prompt's, causally.

    The latter are taken as chains of ``CHAIN`` rows, each with what is before it as its prefix.

    Args:
        lengths, prefix: ``[B]`` int64 rows of each request, and its tokens before them.
        table: ``[B, T]`` int32.
        carries: ``[B]`` bool, whether a request's rows are a tree's.
        mask: ``[B, M, M]``, of those that are.
    """
    if bool(carries.all()):
        first, order = F.pad(lengths.cumsum(0), (1, 0)), torch.arange(len(lengths))
        return TreeRows(first, prefix, lengths, mask.to(torch.uint8), table, order)
    size = torch.where(carries, lengths, CHAIN)
    counts = -(-lengths // size)
    owner = torch.repeat_interleave(counts)
    begin = (torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]) * size[owner]
    rows = (lengths[owner] - begin).minimum(size[owner])
    width = int(rows.max())
    seen = torch.ones(width, width, dtype=torch.uint8).tril().repeat(len(owner), 1, 1)
    tree, most = carries[owner], min(width, mask.shape[2])
    seen[tree, :most, :most] = mask[owner[tree], :most, :most].to(torch.uint8)
    first = F.pad(rows.cumsum(0), (1, 0))
    return TreeRows(first, prefix[owner] + begin, rows, seen, table, owner)


@dataclass(frozen=True)
class NewTokens:
    """What the cache lacks of the query rows' own tokens, where an engine leaves it to attention.

    Attributes:
        keys, values: ``[rows, kv_heads, head_dim]``, contiguous in the last two dimensions.
        slots: ``[rows]`` int64 where they belong, negative where nowhere.
    """

    keys: Tensor
    values: Tensor
    slots: Tensor


@dataclass(frozen=True)
class CacheLayout:
    """Where the native kernel finds a layer's KV; strides in elements.

    Attributes:
        name: ``blocks`` or ``slots``, as in ``native/tree_attention.cpp``.
        keys, values: the tensors to read (``values`` is ignored for blocks).
        kv_heads: KV heads of the layer.
        block_size: tokens of a block; for slots, tokens that are read at a time.
        cache_stride, head_stride: between blocks or slots, and between KV heads.
    """

    name: str
    keys: Tensor
    values: Tensor
    kv_heads: int
    block_size: int
    cache_stride: int
    head_stride: int


def native_attention(
    query: Tensor,
    out: Tensor,
    rows: TreeRows,
    cache: CacheLayout,
    scale: float,
    new: NewTokens | None = None,
) -> bool:
    """Masked attention of tree rows, written into ``out``; False if there is no native kernel.

    Args:
        query, out: ``[rows, heads, head_dim]``, contiguous in the last two dimensions.
        new: written to the cache before, where its layout is ``blocks``.
    """
    native = library() if query.dtype in DTYPES else None
    if native is None:
        return False
    problem = rows.problem
    problem.query, problem.out = query.data_ptr(), out.data_ptr()
    problem.keys, problem.values = cache.keys.data_ptr(), cache.values.data_ptr()
    _, problem.heads, problem.head_dim = query.shape
    problem.kv_heads, problem.block_size = cache.kv_heads, cache.block_size
    problem.query_stride, problem.out_stride = query.stride(0), out.stride(0)
    problem.cache_stride, problem.head_stride = cache.cache_stride, cache.head_stride
    problem.scale = scale
    problem.new_keys = None  # another layer's, as the problem is all layers'
    if new is not None:
        problem.new_keys, problem.new_keys_stride = new.keys.data_ptr(), new.keys.stride(0)
        problem.new_values, problem.new_values_stride = new.values.data_ptr(), new.values.stride(0)
        problem.slots = new.slots.data_ptr()
    kernel = getattr(native, f"attend_{cache.name}_{DTYPES[query.dtype]}")
    kernel(ctypes.byref(problem), torch.get_num_threads())
    return True


def masked_attention(
    query: Tensor, keys: Tensor, values: Tensor, visible: Tensor, scale: float
) -> Tensor:
    """One request in plain torch: the reference in tests, and the way without a compiler.

    Args:
        query: ``[W, heads, d]``.
        keys, values: ``[kv_heads, L, d]``.
        visible: ``[W, L]`` bool.
    """
    rows = query.transpose(0, 1)
    found = F.scaled_dot_product_attention(
        rows, keys, values, attn_mask=visible, scale=scale, enable_gqa=True
    )
    return found.transpose(0, 1)
