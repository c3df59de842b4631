"""Hybrid tree attention (LongSpec, arXiv 2502.17421, section 3.4).

``O = w O_prefix + (1 - w) O_tree`` with ``w = sigmoid(LSE_prefix - LSE_tree)`` is the softmax over
both parts, exactly; so the long part needs no mask and runs at a stock kernel's speed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import tree_triton
from .prefix import prefix_attention
from .tree import tree_attention


def hybrid_attention(
    query: Tensor,
    prefix_keys: Tensor,
    prefix_values: Tensor,
    tree_keys: Tensor,
    tree_values: Tensor,
    mask: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention of tree rows over verified tokens and their own tree.

    Args:
        query: ``[B, heads, W, d]``.
        prefix_keys, prefix_values: ``[B, kv_heads, S, d]``, seen by every row.
        tree_keys, tree_values: ``[B, kv_heads, T, d]``.
        mask: ``[B, W, T]`` bool, which row sees which key of the tree.
        bias: of the prefix, where requests differ in length (:func:`~.prefix.key_bias`).
        scale: of the scores; ``d ** -0.5`` unless told.

    Returns:
        ``[B, heads, W, d]`` in the query's dtype.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    prefix = prefix_attention(query, prefix_keys, prefix_values, bias, scale)
    if query.is_cuda and query.dtype != torch.float64 and tree_triton.available():
        return tree_triton.tree_attention_triton(
            query, tree_keys, tree_values, mask, scale, prefix
        )[0]
    tree = tree_attention(query, tree_keys, tree_values, mask, scale)
    return merge(prefix, tree).to(query.dtype)


def merge(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """One output from two disjoint sets of keys, each ``(O [..., d], LSE [...])``."""
    weight = torch.sigmoid(first[1] - second[1])[..., None]
    return torch.lerp(second[0], first[0].to(second[0].dtype), weight.to(second[0].dtype))
