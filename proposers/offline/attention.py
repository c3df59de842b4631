"""The attention that transformers models call in our forwards.

transformers hands keyword arguments of a forward down to its attention function; ours come as one
:class:`Pass` named ``longspec``. An attention unknown to transformers' mask code gets no mask,
which is what we want: the mask is a tree's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import AttentionInterface

from ..attention import causal_attention, hybrid_attention, prefix_attention
from .cache import KVCache

NAME = "longspec"


@dataclass(frozen=True)
class Pass:
    """What one target forward is.

    Attributes:
        cache: the target's K and V.
        mask: ``[B, W, W]`` bool, which row of a tree sees which; None for a prompt (causal) and for
            single rows.
        bias: of the verified tokens, and with single rows of the row itself, or None.
        prompt: True for prefill.
    """

    cache: KVCache
    mask: Tensor | None = None
    bias: Tensor | None = None
    prompt: bool = False


def attend(
    module: Any,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    longspec: Pass,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention contract: q, k, v ``[B, heads, W, d]`` to ``[B, W, heads, d]``."""
    cache, layer = longspec.cache, module.layer_idx
    if longspec.prompt:
        cache.fill(layer, keys, values)
        out = causal_attention(query, keys, values, scaling)
    elif longspec.mask is None:
        cache.append(layer, keys, values)
        out, _lse = prefix_attention(query, *cache.prefix(layer, 1), longspec.bias, scaling)
    else:
        cache.hold(keys, values)
        prefix = cache.prefix(layer)
        out = hybrid_attention(
            query, *prefix, keys, values, longspec.mask, bias=longspec.bias, scale=scaling
        )
    return out.transpose(1, 2), None


AttentionInterface.register(NAME, attend)
