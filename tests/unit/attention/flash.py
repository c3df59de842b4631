"""FlashAttention's call over a paged cache in plain torch, for machines without it.

Same arguments, same layouts, and the same answers where there are no keys: O 0 and an LSE of +inf.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    max_seqlen_q: int,
    cu_seqlens_q: Tensor,
    max_seqlen_k: int,
    seqused_k: Tensor,
    block_table: Tensor,
    softmax_scale: float,
    causal: bool,
    return_softmax_lse: bool = False,
    out: Tensor | None = None,
    **ignored: Any,
) -> Any:
    """Attention of each request's rows over its first keys, in float32.

    Args:
        q: ``[rows, heads, d]``; request b's are ``cu_seqlens_q[b]`` to ``cu_seqlens_q[b + 1]``.
        k, v: ``[blocks, block size, kv_heads, d]``.
        max_seqlen_q, max_seqlen_k: bounds of rows and keys of a request.
        seqused_k: ``[B]`` keys of each; ``block_table``: ``[B, T]`` its pages.
        causal: the last row sees all keys, the one before it all but one, and so on.

    Returns:
        O ``[rows, heads, d]``, with ``return_softmax_lse`` also the LSE ``[heads, rows]`` float32.
    """
    out = torch.zeros_like(q) if out is None else out
    lse = torch.full((q.shape[1], len(q)), float("inf"), device=q.device)
    bounds, used = cu_seqlens_q.tolist(), seqused_k.tolist()
    for b, count in enumerate(used):
        own = slice(bounds[b], bounds[b + 1])
        assert own.stop - own.start <= max_seqlen_q
        assert count <= max_seqlen_k
        pages = block_table[b, : -(-count // k.shape[1])].long()
        keys, values = (part[pages].flatten(0, 1)[:count].transpose(0, 1) for part in (k, v))
        out[own], lse[:, own] = _attend(q[own], keys, values, softmax_scale, causal)
    return (out, lse) if return_softmax_lse else out


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor]:
    """``[rows, heads, d]`` over ``[kv_heads, keys, d]``."""
    rows, groups = len(query), query.shape[1] // len(keys)
    keys, values = (part.float().repeat_interleave(groups, 0) for part in (keys, values))
    scores = query.float().transpose(0, 1) @ keys.mT * scale
    if causal:
        hidden = torch.ones(rows, keys.shape[1], dtype=torch.bool, device=keys.device)
        scores = scores.masked_fill(hidden.triu(keys.shape[1] - rows + 1), float("-inf"))
    lse = scores.logsumexp(-1)
    none = lse == float("-inf")
    weights = scores.softmax(-1).masked_fill(none[..., None], 0.0)
    out = (weights @ values).transpose(0, 1)
    return out.to(query.dtype), lse.masked_fill(none, float("inf"))
