"""Tree attention behind the name of vLLM's Triton backend. Written for a GPU; not yet run on one.

Why: stock backends are causal among a request's own queries. How: after the stock pass, rows of
tree requests are computed again by vLLM's own ``unified_attention`` with its ``qq_bias``, a
query-query bias that holds the tree mask (one call a request: the bias has no batch dimension).
Upstream: no backend passes ``qq_bias`` on in 0.32/0.33. It can go when one does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.attention.backends.triton_attn import (
    TritonAttentionBackend,
    TritonAttentionImpl,
)
from vllm.v1.attention.ops.triton_unified_attention import unified_attention

HIDDEN = float("-inf")


class TreeTritonAttentionImpl(TritonAttentionImpl):
    """Stock attention, then the rows of requests that carry a tree once more."""

    def forward(
        self,
        layer: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kv_cache: Tensor,
        attn_metadata: Any,
        output: Tensor,
        output_scale: Tensor | None = None,
        output_block_scale: Tensor | None = None,
    ) -> Tensor:
        """Arguments and result as in the stock implementation."""
        super().forward(
            layer,
            query,
            key,
            value,
            kv_cache,
            attn_metadata,
            output,
            output_scale,
            output_block_scale,
        )
        for tree in getattr(attn_metadata, "longspec", None) or ():
            tree.attend(query, kv_cache, output, self.scale)
        return output


class TreeTritonAttentionBackend(TritonAttentionBackend):
    @staticmethod
    def get_impl_cls() -> type[TritonAttentionImpl]:
        return TreeTritonAttentionImpl


class GPUTree:
    """One request's tree rows in a step."""

    def __init__(
        self, first: int, count: int, length: Tensor, max_length: int, table: Tensor, mask: Tensor
    ) -> None:
        """``length`` (``[1]``) and ``table`` (``[1, blocks]``) cover the prefix and the tree;
        ``mask`` is ``[count, count]``, row sees row."""
        self.rows = slice(first, first + count)
        self.starts = torch.tensor([0, count], dtype=torch.int32, device=table.device)
        self.count = count
        self.length = length
        self.max_length = max_length
        self.table = table
        self.bias = torch.zeros(mask.shape, device=table.device).masked_fill_(~mask, HIDDEN)

    def attend(self, query: Tensor, cache: Tensor, output: Tensor, scale: float) -> None:
        biased_attention(
            query[self.rows],
            cache,
            output[self.rows],
            starts=self.starts,
            max_rows=self.count,
            lengths=self.length,
            max_length=self.max_length,
            table=self.table,
            bias=self.bias,
            scale=scale,
        )


class GPUTargetKV:
    """The last layer's cache as a :class:`proposers.base.TargetKV`.

    Draft rows take the places behind the prefix, where a bias hides them from each other: what is
    left is attention over the prefix alone.
    """

    def __init__(self, cache: Tensor, prefix: Tensor, max_length: int, table: Tensor, scale: float):
        self.cache = cache
        self.prefix = prefix
        self.max_length = max_length
        self.table = table
        self.scale = scale

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, head_dim]``, over the ``prefix`` first tokens of each request."""
        batch, width = query.shape[:2]
        device = query.device
        out = torch.empty_like(query.flatten(0, 1))
        biased_attention(
            query.flatten(0, 1),
            self.cache,
            out,
            starts=torch.arange(batch + 1, dtype=torch.int32, device=device) * width,
            max_rows=width,
            lengths=(self.prefix + width).int(),
            max_length=self.max_length + width,
            table=self.table,
            bias=torch.full((width, width), HIDDEN, device=device),
            scale=self.scale,
        )
        return out.view_as(query)


def biased_attention(
    query: Tensor,
    cache: Tensor,
    out: Tensor,
    *,
    starts: Tensor,
    max_rows: int,
    lengths: Tensor,
    max_length: int,
    table: Tensor,
    bias: Tensor,
    scale: float,
) -> None:
    """vLLM's paged kernel with a query-query bias ``[max_rows, max_rows]``."""
    keys, values = cache.transpose(1, 2).split(query.shape[2], dim=-1)
    unified_attention(
        q=query,
        k=keys,
        v=values,
        out=out,
        cu_seqlens_q=starts,
        max_seqlen_q=max_rows,
        seqused_k=lengths,
        max_seqlen_k=max_length,
        softmax_scale=scale,
        causal=True,
        window_size=(-1, -1),
        block_table=table,
        softcap=0,
        q_descale=None,
        k_descale=None,
        v_descale=None,
        qq_bias=bias,
    )


def register(vllm_config: Any) -> None:
    """Take the place of the stock Triton backend in this process, and choose it."""
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    register_backend(
        AttentionBackendEnum.TRITON_ATTN, f"{__name__}.{TreeTritonAttentionBackend.__name__}"
    )
    vllm_config.attention_config.backend = AttentionBackendEnum.TRITON_ATTN
