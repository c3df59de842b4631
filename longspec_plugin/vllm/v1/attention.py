"""Tree attention behind the name of vLLM's CPU backend.

Why: vLLM's CPU kernel is causal and takes no mask. How: the backend is registered over the
platform's own member, from our worker only, and computes decode and tree rows with
:mod:`.cache`; prefill rows stay with the stock kernel unless ours is quicker. Upstream: ``CUSTOM``
backends are ignored on CPU in 0.32. It can go when the CPU kernel takes a query-query mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.attention.backends.cpu_attn import (
    CPUAttentionBackend,
    CPUAttentionBackendImpl,
    CPUAttentionMetadataBuilder,
)

from ...tree_rows import NewTokens, TreeRows, prefix_rows
from ..tree_attention import TreeAttentionImpl, take_the_place_of
from .cache import ISA, tree_attention


class TreeCPUAttentionBuilder(CPUAttentionMetadataBuilder):
    """Keeps the KV cache in the layout that :mod:`.cache` reads."""

    def _set_isa_to_layers(self, layer_names: list[str]) -> None:
        self.isa = ISA
        super()._set_isa_to_layers(layer_names)


class TreeCPUAttentionImpl(TreeAttentionImpl, CPUAttentionBackendImpl):
    """Stock attention, except for the rows of requests that carry a tree; writes the cache too.

    Stock vLLM writes it by an operator of its own, whose way through Python takes as long as the
    attention of a few rows.
    """

    def write(
        self, layer: Any, key: Tensor, value: Tensor, kv_cache: Tensor, attn_metadata: Any
    ) -> None:
        lacks = attn_metadata is not None and layer.kv_sharing_target_layer_name is None
        step = getattr(attn_metadata, "longspec", None)  # another's, where V2 runs on a CPU
        if isinstance(step, CPUTreeStep) and step.only_trees:
            step.new = NewTokens(key, value, attn_metadata.slot_mapping) if lacks else None
        elif lacks:
            self.do_kv_cache_update(layer, key, value, kv_cache, attn_metadata.slot_mapping)


class TreeCPUAttentionBackend(CPUAttentionBackend):
    forward_includes_kv_cache_update = True

    @staticmethod
    def get_impl_cls() -> type[CPUAttentionBackendImpl]:
        return TreeCPUAttentionImpl

    @staticmethod
    def get_builder_cls() -> type[CPUAttentionMetadataBuilder]:
        return TreeCPUAttentionBuilder


class CPUTreeStep:
    """The rows of one step that are ours, shared by all layers."""

    def __init__(self, rows: TreeRows, row_ids: Tensor | None) -> None:
        """``row_ids``: where they lie among the step's rows; None if they are all of them."""
        self.rows = rows
        self.row_ids = row_ids
        self.new: NewTokens | None = None
        """What the layer's cache lacks, where all rows are ours."""

    @property
    def only_trees(self) -> bool:
        return self.row_ids is None

    def attend(self, query: Tensor, cache: Tensor, output: Tensor, scale: float) -> None:
        if self.row_ids is None:
            tree_attention(query, cache, output, self.rows, scale, self.new)
            return
        part = query[self.row_ids].contiguous()
        result = torch.empty_like(part)
        tree_attention(part, cache, result, self.rows, scale)
        output[self.row_ids] = result


class CPUTargetKV:
    """The last layer's cache as a :class:`proposers.base.TargetKV`."""

    def __init__(self, cache: Tensor, prefix: Tensor, block_table: Tensor, scale: float) -> None:
        self.cache = cache
        self.prefix = prefix
        self.block_table = block_table
        self.scale = scale
        self.table_row = torch.arange(len(prefix))

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, head_dim]``, over the ``prefix`` first tokens of each request."""
        rows = prefix_rows(query.shape[1], self.prefix, self.block_table, self.table_row)
        flat = query.flatten(0, 1).contiguous()
        out = torch.empty_like(flat)
        tree_attention(flat, self.cache, out, rows, self.scale)
        return out.view_as(query)


def register() -> None:
    """Take the place of the stock CPU backend in this process."""
    take_the_place_of("CPU_ATTN", TreeCPUAttentionBackend)
