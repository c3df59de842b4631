"""Tree rows in the Triton backend, and where its cache holds keys and values.

Graphs with attention in them are declared impossible: a graph whose mask was not proved to be read
at every replay would answer wrongly in silence. vLLM then captures the pieces between attentions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.attention.backends.triton_attn import (
    TritonAttentionBackend,
    TritonAttentionImpl,
    TritonAttentionMetadataBuilder,
)

from proposers.attention.paged_triton import PagedRows, paged_attention

from ..tree_attention import TreeAttentionImpl, take_the_place_of

Views = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From a layer's cache to its K and V, ``[blocks, kv_heads, block size, head_dim]`` each."""


class TreeTritonImpl(TreeAttentionImpl, TritonAttentionImpl):
    """Stock attention, except for the rows of a step's trees."""


class TreeTritonBuilder(TritonAttentionMetadataBuilder):
    _cudagraph_support: ClassVar[AttentionCGSupport] = AttentionCGSupport.NEVER


class TreeTritonBackend(TritonAttentionBackend):
    @staticmethod
    def get_impl_cls() -> type[TritonAttentionImpl]:
        return TreeTritonImpl

    @staticmethod
    def get_builder_cls() -> type[TritonAttentionMetadataBuilder]:
        return TreeTritonBuilder


@dataclass(frozen=True)
class PagedTrees:
    """A step's tree rows (:class:`..tree_attention.TreeStep`), by our kernel."""

    rows: PagedRows
    views: Views
    only_trees: bool

    def attend(self, query: Tensor, cache: Tensor, output: Tensor, scale: float) -> None:
        """Write the tree rows of ``output``."""
        paged_attention(query, *self.views(cache), output.view(query.shape), self.rows, scale)


def views(cache: Tensor) -> tuple[Tensor, Tensor]:
    """K and V of the Triton backend's cache."""
    half = cache.shape[-1] // 2
    return cache[..., :half], cache[..., half:]


def move_slots(caches: Sequence[Tensor], views: Views, source: Tensor, target: Tensor) -> None:
    """Copy the KV of slots ``source`` to ``target`` (``[n]`` int64) in all layers.

    Reads of a layer are gathered before its writes, so slots may come in any order.
    """
    for cache in caches:
        for part in views(cache):
            size = part.shape[2]
            part[target // size, :, target % size] = part[source // size, :, source % size]


def register() -> None:
    """Take the place of the stock Triton backend in this process."""
    take_the_place_of("TRITON_ATTN", TreeTritonBackend)
