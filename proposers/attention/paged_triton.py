"""Attention of many requests' tree rows over a paged cache, for a whole step in a launch or two.

A row sees all of its request's prefix, and behind it the rows of its own tree that a mask names.
All that changes from step to step (where rows lie, lengths, tables, masks) is read from tensors on
the device, so a launch can be captured in a graph and replayed when they have changed. Without a
mask the same kernel is the draft's attention over the target's keys and values.

As in :mod:`.tree_triton` the kernel is an online softmax (arXiv 2205.14135), and a program takes
*folded* rows, the rows of all heads that share a KV head: what a long prefix costs is reading it.
Where requests are too few to occupy the device, prefixes are split over more programs, and a second
launch merges what they found and goes on with the tree from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..kernels import require_triton, triton
from .paged_kernel import kernel as _kernel
from .rows import PagedRows
from .tree_triton import STAGES

__all__ = ["PagedKV", "PagedRows", "paged_attention", "splits_for"]

LEAST_ROWS, MOST_ROWS = 16, 128
"""Folded rows of a program: what a matrix product takes at least, and what holds 17 rows of 4 heads
at once, so that keys are read once. The products still take less time than the reading: 256
operations for a number of 2 bytes, of which an H100 could do 590 in its time."""
QUERY_BYTES, BLOCK_BYTES = 32 * 1024, 8 * 1024
"""Of a program's rows, and of a block of its keys. 128 bfloat16 rows of 128 then take half of an
H100's multiprocessor where prefixes are split: 8 warps of 127 registers a thread, and 64 KB."""
LEAST_SPLIT, MOST_SPLITS = 256, 64
"""Keys that are worth a program, and parts that one program can merge in passing."""

Stage = Literal["whole", "parts", "rest"]
"""What a launch does: all; the prefix in parts; the parts' merge, and the tree."""


def splits_for(batch: int, kv_heads: int, folded_rows: int, most_keys: int, processors: int) -> int:
    """In how many parts to read prefixes: about two programs for each of a GPU's multiprocessors.

    Args:
        folded_rows: rows of a request times heads that share a KV head.
        most_keys: of a prefix, such as the longest that a captured graph is for.
        processors: ``multi_processor_count`` of the device.

    Returns:
        1 where the batch alone occupies the device, or keys are few.
    """
    programs = max(1, batch * kv_heads * -(-folded_rows // MOST_ROWS))
    return max(1, min(2 * processors // programs, most_keys // LEAST_SPLIT, MOST_SPLITS))


def paged_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    out: Tensor,
    rows: PagedRows,
    scale: float,
    splits: int = 1,
) -> None:
    """Attention of the rows that ``rows`` names, written into ``out``; other rows stay.

    Args:
        query, out: ``[rows, heads, d]``, dense along ``d``.
        keys, values: ``[pages, kv_heads, page size, d]``, any strides.
        splits: the most parts of a prefix. Each request divides its own, into parts of no fewer
            than ``LEAST_SPLIT`` keys. More than one takes two launches, and scratch of
            ``splits * B * heads * width * (d + 1)`` float32: with :func:`splits_for` no more than
            ``2 * processors * MOST_ROWS * (d + 1)`` (17 MB on an H100 for d = 128).

    Raises:
        ImportError: Triton is not installed.
        ValueError: ``splits`` is less than 1.
    """
    require_triton("paged_attention")
    if splits < 1:
        raise ValueError(f"splits is {splits}; allowed: 1 or more")
    step = _Step(query, keys, values, out, rows, scale, splits)
    if splits == 1:
        step.launch("whole", (out, out))  # no scratch
        return
    parts = query.new_empty(
        len(rows.prefix), keys.shape[1], splits, step.folded, query.shape[2], dtype=torch.float32
    )
    scratch = parts, parts.new_empty(parts.shape[:-1])
    step.launch("parts", scratch)
    step.launch("rest", scratch)


@dataclass(frozen=True)
class _Step:
    """The arguments of :func:`paged_attention`, for one launch or two."""

    query: Tensor
    keys: Tensor
    values: Tensor
    out: Tensor
    rows: PagedRows
    scale: float
    splits: int

    @property
    def groups(self) -> int:
        return self.query.shape[1] // self.keys.shape[1]

    @property
    def folded(self) -> int:
        return self.groups * self.rows.width

    def launch(self, stage: Stage, scratch: tuple[Tensor, Tensor]) -> None:
        """``scratch``: O ``[B, kv_heads, splits, folded, d]`` and LSE of the parts."""
        rows, (kv_heads, page, dim) = self.rows, self.keys.shape[1:]
        mask = rows.table if rows.mask is None else rows.mask  # something to point to
        blocks = _blocks(self.folded, dim, self.query.element_size(), stage)
        programs = triton.cdiv(self.folded, blocks["block_rows"])
        _kernel[len(rows.prefix), kv_heads, programs * (self.splits if stage == "parts" else 1)](
            *(self.query, self.keys, self.values, self.out, *scratch),
            *(rows.first, rows.counts, rows.prefix, rows.table, rows.slots, mask),
            *(self.scale, self.folded, self.splits),
            *(*self.query.stride()[:2], *self.out.stride()[:2]),
            *(*self.keys.stride(), *self.values.stride()),
            *(rows.table.stride(0), *mask.stride()[:2]),
            groups=self.groups,
            dim=dim,
            page=page,
            masked=rows.mask is not None and stage != "parts",
            stage=stage,
            least=LEAST_SPLIT,
            **blocks,
        )


def _blocks(folded: int, dim: int, element: int, stage: Stage) -> dict[str, Any]:
    """Sizes of a program's blocks, its warps and its blocks of keys in flight.

    A merge has little to compute and much to read: its rows go to as many programs as can be.
    """
    block_dim = max(16, triton.next_power_of_2(dim))
    most = min(MOST_ROWS, QUERY_BYTES // (block_dim * element))
    rows = triton.next_power_of_2(folded) if stage != "rest" else LEAST_ROWS
    rows = min(max(LEAST_ROWS, rows), most)
    return {
        "block_dim": block_dim,
        "block_rows": rows,
        "block_keys": min(max(16, BLOCK_BYTES // (block_dim * element)), 64),
        "num_warps": 8 if rows * block_dim * element > QUERY_BYTES // 2 else 4,
        "num_stages": STAGES,
    }


@dataclass(frozen=True)
class PagedKV:
    """One layer's cache as a :class:`proposers.base.TargetKV`.

    Attributes:
        keys, values: as in :func:`paged_attention`, and so is ``splits``.
        prefix: ``[B]`` int32, tokens before the root.
        table: ``[B, T]`` int32.
    """

    keys: Tensor
    values: Tensor
    prefix: Tensor
    table: Tensor
    scale: float
    splits: int = 1

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, d]`` over the ``prefix`` first tokens of each request."""
        batch, width = query.shape[:2]
        each = torch.arange(batch, dtype=torch.int32, device=query.device)
        counts = torch.full_like(each, width)
        rows = PagedRows(width, each * width, counts, self.prefix, self.table, each, None)
        flat = query.flatten(0, 1).contiguous()
        out = torch.empty_like(flat)
        paged_attention(flat, self.keys, self.values, out, rows, self.scale, self.splits)
        return out.view_as(query)
