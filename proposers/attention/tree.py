"""The masked part: tens of rows by tens of keys, each row seeing its ancestors and itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .prefix import fold, unfold


def tree_attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Masked attention in float32 (float64 for float64 input), in plain PyTorch.

    Args:
        query: ``[B, heads, W, d]``; keys, values: ``[B, kv_heads, T, d]``.
        mask: ``[B, W, T]`` bool, True where the row sees the key.

    Returns:
        the output ``[B, heads, W, d]`` and its log-sum-exp ``[B, heads, W]``; 0 and -inf for a row
        that sees nothing.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    kv_heads = keys.shape[1]
    rows = fold(query, kv_heads).to(wide)
    seen = mask[:, None].repeat(1, 1, query.shape[1] // kv_heads, 1)
    scores = (rows @ keys.to(wide).transpose(-1, -2) * scale).masked_fill(~seen, float("-inf"))
    lse = scores.logsumexp(-1)
    weights = (scores - lse.clamp(min=torch.finfo(wide).min)[..., None]).exp()
    return unfold(weights @ values.to(wide), query.shape[1]), unfold(lse, query.shape[1])
