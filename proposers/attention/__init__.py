"""Attention of a draft tree: a long part that every row sees, and a small masked one.

``hybrid`` is the contract; ``prefix`` picks the stock kernel for the long part, ``tree`` and
``tree_triton`` compute the masked one. ``paged_triton`` does both over an engine's paged cache, and
``kv_move_triton`` brings accepted rows of the cache to their places.
"""

from .hybrid import hybrid_attention, merge
from .prefix import causal_attention, key_bias, prefix_attention
from .tree import masked_attention, tree_attention

__all__ = [
    "causal_attention",
    "hybrid_attention",
    "key_bias",
    "masked_attention",
    "merge",
    "prefix_attention",
    "tree_attention",
]
