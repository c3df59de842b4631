"""Rotary embedding of a draft's rows: tables, queries, and keys on their way into the rings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import jit, require_triton, tl, triton

MOST_HEADS = 16
"""That a program rotates."""


def tables(frequencies: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[..., d]`` float32 at positions ``[...]``, not scaled.

    As of :meth:`proposers.rotary.Rotary.tables`.

    Raises:
        ImportError: Triton is not installed, here and below.
    """
    require_triton("tables")
    half = len(frequencies)
    cos, sin = frequencies.new_empty(2, *positions.shape, 2 * half)
    if positions.numel():  # a launch of no programs is an error
        with torch.cuda.device_of(positions):  # Triton launches on the current device
            _tables[(positions.numel(),)](
                *(frequencies, positions.contiguous(), cos, sin, half),
                block=triton.next_power_of_2(2 * half),
                num_warps=1,
            )
    return cos, sin


def turned(query: Tensor, cos: Tensor, sin: Tensor, width: int) -> Tensor:
    """Queries ``[B * width, heads * d]``, rotated (:func:`.layer.rotate`).

    Args:
        query: dense along its rows.
        cos, sin: ``[B, d]`` float32, dense along ``d``, with the same strides.

    Returns:
        ``[B, width, heads, d]``, dense.
    """
    require_triton("turned")
    dim = cos.shape[1]
    heads = query.shape[1] // dim
    out = query.new_empty(len(cos), width, heads, dim)
    _launch_turn(query, out, (cos, sin), (cos, cos), width, (heads, heads))
    return out


def put(
    keys_values: Tensor, ring: Tensor, cos: Tensor, sin: Tensor, slots: Tensor, entries: Tensor
) -> None:
    """Write keys, rotated, and values ``[B * W, 2 * kv_heads * d]`` into the rings of their slots.

    Args:
        ring: ``[2, S, kv_heads, entries, d]``, dense along ``d``.
        cos, sin: as in :func:`turned`.
        slots: ``[B]`` int64.
        entries: ``[B, W]`` int64.
    """
    require_triton("put")
    kv_heads = ring.shape[2]
    _launch_turn(
        *(keys_values, ring, (cos, sin), (slots, entries)),
        *(entries.shape[1], (2 * kv_heads, kv_heads)),
    )


def _launch_turn(
    given: Tensor,
    out: Tensor,
    tables: tuple[Tensor, Tensor],
    places: tuple[Tensor, Tensor],
    width: int,
    heads: tuple[int, int],
) -> None:
    """``heads``: all of a row, and how many of them are rotated."""
    dim, rings = tables[0].shape[1], out.dim() == 5
    strides = (*out.stride()[:4], places[0].stride(0), *places[1].stride())
    strides = strides if rings else (0,) * 7
    block = min(triton.next_power_of_2(heads[0]), MOST_HEADS)
    if len(given):
        with torch.cuda.device_of(given):
            _turn[len(given), triton.cdiv(heads[0], block)](
                *(given, out, *tables, *places, width, given.stride(0), tables[0].stride(0)),
                *(*strides, *heads),
                dim=dim,
                block_dim=triton.next_power_of_2(dim),
                block_heads=block,
                rings=rings,
            )


@jit()
def _tables(frequencies, positions, cos, sin, half, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """A program a position."""
    line, column = tl.program_id(0), tl.arange(0, block)
    inside = column < 2 * half
    angle = tl.load(positions + line).to(tl.float32)
    angle *= tl.load(frequencies + column % half, mask=inside, other=0.0)
    at = line * 2 * half + column
    tl.store(cos + at, tl.cos(angle), mask=inside)
    tl.store(sin + at, tl.sin(angle), mask=inside)


@jit("width", "table_b", "slots_b", "entries_b", "entries_w")
def _turn(  # type: ignore[no-untyped-def]
    given, out, cos, sin, slots, entries, width, given_n, table_b,
    ring_kv, ring_s, ring_h, ring_e, slots_b, entries_b, entries_w, heads, rotated,
    dim: tl.constexpr, block_dim: tl.constexpr, block_heads: tl.constexpr, rings: tl.constexpr,
):  # fmt: skip
    """Program ``(row, block of heads)``: the first ``rotated`` of all heads of a row are."""
    row = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * block_heads + tl.arange(0, block_heads))[:, None]
    request, column = row // width, tl.arange(0, block_dim)[None, :]
    inside, tile = column < dim, (head < heads) & (column < dim)
    half: tl.constexpr = dim // 2
    given += row * given_n + head * dim
    own = tl.load(given + column, mask=tile, other=0.0).to(tl.float32)
    other = tl.load(given + (column + half) % dim, mask=tile, other=0.0).to(tl.float32)
    at = request * table_b + column
    turn = inside & (head < rotated)
    across = tl.load(sin + at, mask=inside, other=0.0)
    along = tl.load(cos + at, mask=inside, other=0.0)
    other = tl.where(column < half, -other, other) * across
    result = tl.where(turn, own * along + other, own)
    if rings:
        slot = tl.load(slots + request * slots_b).to(tl.int64)
        entry = tl.load(entries + request * entries_b + row % width * entries_w).to(tl.int64)
        out += slot * ring_s + entry * ring_e
        at = head // rotated * ring_kv + head % rotated * ring_h
    else:
        at = (row * heads + head) * dim
    tl.store(out + at + column, result.to(out.dtype.element_ty), mask=tile)
