"""Hybrid tree attention in vLLM's FlashAttention backend (LongSpec, arXiv 2502.17421, section 3.4).

The verified prefix is read by FlashAttention itself, all tree rows of a request together, not
causal and with log-sum-exp; our tree kernel goes on from that state over the step's own keys and
values, which are few and lie one after the other. Two launches a layer, however many requests. Rows
without a tree (prefills, requests that were not drafted) take the stock pass, for them alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.utils.torch_utils import canonicalize_singleton_dim_strides
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.attention.backends import flash_attn
from vllm.v1.attention.backends.flash_attn import (
    FlashAttentionBackend,
    FlashAttentionImpl,
    FlashAttentionMetadata,
    FlashAttentionMetadataBuilder,
)

from proposers.attention.paged_triton import PagedRows
from proposers.attention.tree_triton import ragged_tree_attention_triton

from ..tree_attention import TreeAttentionImpl, take_the_place_of
from .attention import Kind, PagedTrees, Verification, halves


@dataclass(frozen=True)
class Prefix:
    """What FlashAttention is told of the verified tokens, beside queries, keys and values.

    Attributes:
        starts: ``[B + 1]`` int32, each request's first row; lengths: ``[B]`` int32, its tokens.
        table: ``[B, T]`` its pages.
        most_rows, longest: the most rows and tokens of a request.
        schedule: FlashAttention 3's division of the work, made ahead for all layers.
        splits: the most parts of a prefix, 0 for its own choice.
    """

    starts: Tensor
    lengths: Tensor
    table: Tensor
    most_rows: int
    longest: int
    schedule: Tensor | None = None
    splits: int = 0

    def attend(self, impl: Any, query: Tensor, cache: Tensor, out: Tensor) -> Tensor:
        """Attention of ``query`` (``[rows, heads, d]``) into ``out``; LSE ``[heads, rows]``."""
        keys, values = (
            canonicalize_singleton_dim_strides(p.transpose(1, 2)) for p in halves(cache)
        )
        _, lse, *_ = flash_attn.flash_attn_varlen_func(
            q=query,
            k=keys,
            v=values,
            out=out,
            cu_seqlens_q=self.starts,
            max_seqlen_q=self.most_rows,
            seqused_k=self.lengths,
            max_seqlen_k=self.longest,
            block_table=self.table,
            softmax_scale=impl.scale,
            softcap=impl.logits_soft_cap,
            causal=False,
            return_softmax_lse=True,
            scheduler_metadata=self.schedule,
            fa_version=impl.vllm_flash_attn_version,
            num_splits=self.splits,
        )
        return lse


@dataclass(frozen=True)
class HybridTrees:
    """A step whose requests with trees come first.

    Attributes:
        tokens: their rows.
        others: the stock pass's metadata for the rows behind them, None where there are none.
    """

    rows: PagedRows
    prefix: Prefix
    tokens: int
    others: FlashAttentionMetadata | None

    @property
    def only_trees(self) -> bool:
        return self.others is None

    def attend_rows(
        self, impl: Any, query: Tensor, key: Tensor, value: Tensor, cache: Tensor, out: Tensor
    ) -> None:
        """Write the tree rows of ``out`` (``[rows, heads, d]``)."""
        own = slice(self.tokens)
        state = out[own], self.prefix.attend(impl, query[own], cache, out[own])
        ragged_tree_attention_triton(
            query[own], key[own], value[own], out[own], self.rows, impl.scale, state
        )


class TreeFlashImpl(TreeAttentionImpl, FlashAttentionImpl):
    """Stock attention, except for the rows of a step's trees."""

    def forward(
        self,
        layer: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kv_cache: Tensor,
        attn_metadata: Any,
        output: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        step = getattr(attn_metadata, "longspec", None)
        if not isinstance(step, HybridTrees):
            return super().forward(
                layer, query, key, value, kv_cache, attn_metadata, output, *args, **kwargs
            )
        if step.others is not None:
            behind = slice(step.tokens, step.tokens + step.others.num_actual_tokens)
            rows = (part[behind] for part in (query, key, value))
            FlashAttentionImpl.forward(self, layer, *rows, kv_cache, step.others, output[behind])
        step.attend_rows(self, query, key, value, kv_cache, output.view(query.shape))
        return output


class TreeFlashBuilder(FlashAttentionMetadataBuilder):
    _cudagraph_support: ClassVar[AttentionCGSupport] = AttentionCGSupport.UNIFORM_BATCH

    def prefix(self, metadata: FlashAttentionMetadata, trees: Verification) -> Prefix:
        """The prefixes of a step's trees; the schedule lies where a graph looks for it."""
        lengths, splits = trees.rows.prefix[: trees.requests], metadata.max_num_splits
        told = Prefix(
            metadata.query_start_loc[: trees.requests + 1],
            lengths,
            metadata.block_table[: trees.requests],
            trees.rows.width,
            metadata.max_seq_len,
            splits=splits,
        )
        made = self._get_scheduler_metadata(
            aot_schedule=self.aot_schedule and metadata.scheduler_metadata is not None,
            batch_size=trees.requests,
            cu_query_lens=told.starts,
            max_query_len=told.most_rows,
            seqlens=lengths,
            max_seq_len=told.longest,
            causal=False,
            max_num_splits=splits,
        )
        return replace(told, schedule=self._store_scheduler_metadata(made))


class TreeFlashBackend(FlashAttentionBackend):
    @staticmethod
    def get_impl_cls() -> type[FlashAttentionImpl]:
        return TreeFlashImpl

    @staticmethod
    def get_builder_cls() -> type[FlashAttentionMetadataBuilder]:
        return TreeFlashBuilder


def hybrid(metadata: Any, builder: Any, trees: Verification) -> HybridTrees | PagedTrees:
    """The hybrid step; a step whose requests carry more than their trees falls to our paged kernel,
    behind the stock pass over all rows."""
    if not trees.regular:
        return PagedTrees(trees.rows, halves, False)
    others = None if trees.only_trees else behind(metadata, trees)
    return HybridTrees(trees.rows, builder.prefix(metadata, trees), trees.tokens, others)


def behind(metadata: FlashAttentionMetadata, trees: Verification) -> FlashAttentionMetadata:
    """``metadata`` of the requests behind those with trees; the stock pass divides its own work."""
    first = trees.requests
    return replace(
        metadata,
        num_actual_tokens=metadata.num_actual_tokens - trees.tokens,
        query_start_loc=metadata.query_start_loc[first:] - trees.tokens,
        seq_lens=metadata.seq_lens[first:],
        block_table=metadata.block_table[first:],
        slot_mapping=metadata.slot_mapping[trees.tokens :],
        scheduler_metadata=None,
        max_num_splits=0,
    )


@dataclass(frozen=True)
class FlashKV:
    """The last layer's cache as a :class:`proposers.base.TargetKV`, read as a prefix is."""

    layer: Any
    lengths: Tensor
    table: Tensor
    longest: int

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, d]`` over the ``lengths`` first tokens of each request."""
        batch, width = query.shape[:2]
        starts = torch.arange(batch + 1, dtype=torch.int32, device=query.device) * width
        flat = query.flatten(0, 1).contiguous()
        out = torch.empty_like(flat)
        prefix = Prefix(starts, self.lengths, self.table, width, self.longest, splits=SPLITS)
        prefix.attend(self.layer.impl, flat, self.layer.kv_cache, out)
        return out.view_as(query)


SPLITS = 32
"""Most parts of a prefix that a draft reads: vLLM's own bound in graphs."""


def target_kv(layer: Any, prefix: Tensor, table: Tensor) -> FlashKV:
    return FlashKV(layer, prefix, table, table.shape[1] * layer.kv_cache.shape[2])


KIND = Kind(halves, hybrid, target_kv)


def register() -> None:
    """Take the place of the stock FlashAttention backend in this process."""
    take_the_place_of("FLASH_ATTN", TreeFlashBackend)
