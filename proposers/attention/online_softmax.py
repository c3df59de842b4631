"""The online softmax (arXiv 2205.14135) that the kernels share.

Its state is, of each row, the largest score, the sum of weights and the weighted values so far,
``[rows]``, ``[rows]`` and ``[rows, d]``, all in float32.
"""

from __future__ import annotations

from ..kernels import jit, tl


@jit()
def fold(rows, key_rows, value_rows, visible, scale, top, total, sums):  # type: ignore[no-untyped-def]
    """The state, and a block of keys ``[d, block]`` and values ``[block, d]``."""
    scores = tl.where(visible, _products(rows, key_rows) * scale, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, 1))
    shift = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
    fade = tl.exp(top - shift)
    weights = tl.exp(scores - shift[:, None])
    total = total * fade + tl.sum(weights, 1)
    weights = weights.to(value_rows.dtype)
    sums = tl.dot(weights, value_rows, sums * fade[:, None], input_precision="ieee")
    return higher, total, sums


@jit()
def merge(lse, part, top, total, sums):  # type: ignore[no-untyped-def]
    """The state, and attention over other keys: its LSE and output."""
    higher = tl.maximum(top, lse)
    shift = tl.where(higher == float("-inf"), 0.0, higher)
    fade, weight = tl.exp(top - shift), tl.exp(lse - shift)
    sums = sums * fade[:, None] + part * weight[:, None]
    return higher, total * fade + weight, sums


@jit()
def _products(rows, key_rows):  # type: ignore[no-untyped-def]
    """``[rows, block]`` of ``[rows, d]`` and ``[d, block]``.

    In float32 in pieces of 32 columns, summed last: one sum of 256 products is wrong by 2e-6 of a
    score. Half precision comes from tensor cores, and is less exact than any order of its sums.
    """
    if rows.dtype == tl.float32:
        piece: tl.constexpr = min(rows.shape[1], 32)
        pieces: tl.constexpr = rows.shape[1] // piece
        left = tl.permute(tl.reshape(rows, [rows.shape[0], pieces, piece]), (1, 0, 2))
        right = tl.reshape(key_rows, [pieces, piece, key_rows.shape[1]])
        products = tl.sum(tl.dot(left, right, input_precision="ieee"), 0)
    else:
        products = tl.dot(rows, key_rows)
    return products
