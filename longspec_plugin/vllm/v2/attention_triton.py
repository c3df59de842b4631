"""Trees in vLLM's Triton backend: one kernel of ours for a whole step, in any dtype.

All that it reads of a step lies in buffers that stay where they are, so it may lie in a graph of a
uniform batch; other batches run between graphs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.attention.backends.triton_attn import (
    TritonAttentionBackend,
    TritonAttentionImpl,
    TritonAttentionMetadataBuilder,
)

from proposers.attention.paged_triton import PagedKV, splits_for

from ..tree_attention import TreeAttentionImpl, take_the_place_of
from .attention import Kind, PagedTrees, Verification, Views, halves


class TreeTritonImpl(TreeAttentionImpl, TritonAttentionImpl):
    """Stock attention, except for the rows of a step's trees."""


class TreeTritonBuilder(TritonAttentionMetadataBuilder):
    _cudagraph_support: ClassVar[AttentionCGSupport] = AttentionCGSupport.UNIFORM_BATCH


class TreeTritonBackend(TritonAttentionBackend):
    @staticmethod
    def get_impl_cls() -> type[TritonAttentionImpl]:
        return TreeTritonImpl

    @staticmethod
    def get_builder_cls() -> type[TritonAttentionMetadataBuilder]:
        return TreeTritonBuilder


def paged(views: Views) -> Kind:
    """Our paged kernel over a cache that ``views`` reads."""

    def step(metadata: Any, builder: Any, trees: Verification) -> PagedTrees:
        rows, shape = trees.rows, builder.kv_cache_spec
        folded = rows.width * builder.vllm_config.model_config.get_num_attention_heads(
            builder.vllm_config.parallel_config
        )
        keys = rows.table.shape[1] * shape.block_size
        splits = parts(len(rows.prefix), shape.num_kv_heads, folded, keys, rows.table)
        return PagedTrees(rows, views, trees.only_trees, splits)

    def target_kv(layer: Any, prefix: Tensor, table: Tensor) -> PagedKV:
        keys, values = views(layer.kv_cache)
        heads, size = keys.shape[1:3]
        splits = parts(len(prefix), heads, layer.impl.num_heads, table.shape[1] * size, table)
        return PagedKV(keys, values, prefix, table, layer.impl.scale, splits)

    return Kind(views, step, target_kv)


def parts(requests: int, kv_heads: int, folded: int, keys: int, like: Tensor) -> int:
    """Parts of a prefix; the same for every step of one shape, as a graph has to have it."""
    if not like.is_cuda:
        return 1
    processors = torch.cuda.get_device_properties(like.device).multi_processor_count
    return splits_for(requests, kv_heads, folded // kv_heads, keys, processors)


KIND = paged(halves)


def register() -> None:
    """Take the place of the stock Triton backend in this process."""
    take_the_place_of("TRITON_ATTN", TreeTritonBackend)
