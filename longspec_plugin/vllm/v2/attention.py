"""Tree rows in the stock attention backends of Model Runner V2: what one step tells all layers.

A :class:`Kind` is what differs from one backend to another: :mod:`.attention_flash` (FlashAttention
over the prefix, then our tree kernel), :mod:`.attention_triton` (one paged kernel), and the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from proposers.attention.paged_triton import PagedRows, paged_attention
from proposers.base import TargetKV

Views = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From a layer's cache to its K and V, ``[blocks, kv_heads, block size, head_dim]`` each."""


@dataclass(frozen=True)
class Verification:
    """One step's trees.

    Attributes:
        rows: where they lie and what they see.
        regular: requests with trees come first in the step, and each is its tree and no more.
        tokens: how many rows these have, where they are regular.
        only_trees: and there are no other rows.
    """

    rows: PagedRows
    regular: bool
    tokens: int
    only_trees: bool

    @property
    def requests(self) -> int:
        return len(self.rows.prefix)


@dataclass(frozen=True)
class Kind:
    """How one stock backend keeps KV, and how trees are attended to beside it.

    Attributes:
        views: where K and V lie.
        step: from a step's metadata, the builder that made it and its trees to what the backend's
            layers run, a :class:`..tree_attention.TreeStep` or the backend's own.
        target_kv: from the last layer, prefix lengths ``[B]`` and tables ``[B, T]`` to what a draft
            attends to.
    """

    views: Views
    step: Callable[[Any, Any, Verification], Any]
    target_kv: Callable[[Any, Tensor, Tensor], TargetKV]


@dataclass(frozen=True)
class PagedTrees:
    """A step's tree rows (:class:`..tree_attention.TreeStep`), by our paged kernel."""

    rows: PagedRows
    views: Views
    only_trees: bool
    splits: int = 1

    def attend(self, query: Tensor, cache: Tensor, output: Tensor, scale: float) -> None:
        """Write the tree rows of ``output``."""
        out = output.view(query.shape)
        paged_attention(query, *self.views(cache), out, self.rows, scale, self.splits)


def halves(cache: Tensor) -> tuple[Tensor, Tensor]:
    """K and V of a cache ``[blocks, kv_heads, block size, 2 * head_dim]``, as GPU backends have."""
    half = cache.shape[-1] // 2
    return cache[..., :half], cache[..., half:]
