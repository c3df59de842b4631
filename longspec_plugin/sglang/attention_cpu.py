"""Tree attention behind the name of SGLang's CPU backend.

Why: ``torch_native`` cannot verify: it has no mask, and computes every row of a prefix again. How:
a subclass under the same name, in processes that serve LONGSPEC on a CPU, computes tree rows with
:mod:`.cpu_cache`; prefill stays with the stock backend. It can go when a CPU backend takes a mask.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.layers.attention.attention_registry import ATTENTION_BACKENDS
from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
from sglang.srt.mem_cache.memory_pool import KVWriteLoc
from torch import Tensor

from ..tree_rows import TreeRows, prefix_rows
from .cpu_cache import tree_attention
from .verify_input import TreeVerifyInput

NAME = "torch_native"


class TreeTorchBackend(TorchNativeAttnBackend):  # type: ignore[misc]
    """The stock backend, except for rows of trees."""

    def init_forward_metadata(self, forward_batch: Any) -> None:
        super().init_forward_metadata(forward_batch)
        self.tree_rows = self._rows(forward_batch)

    def _rows(self, forward_batch: Any) -> TreeRows | None:
        """This step's rows, shared by all layers; None outside of verification."""
        step = forward_batch.spec_info
        if not (
            forward_batch.forward_mode.is_target_verify() and isinstance(step, TreeVerifyInput)
        ):
            return None
        count, width = forward_batch.batch_size, step.draft_token_num
        return TreeRows(
            first_row=torch.arange(count + 1) * width,
            prefix=forward_batch.seq_lens.long(),
            tail=torch.full((count,), width),
            mask=step.mask.to(torch.uint8).contiguous(),
            table=self.req_to_token_pool.req_to_token,
            table_row=forward_batch.req_pool_indices.long(),
        )

    def forward_extend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        layer: Any,
        forward_batch: Any,
        save_kv_cache: bool = True,
    ) -> Tensor:
        """Arguments and result as in the stock backend."""
        rows = self.tree_rows
        if rows is None:
            return super().forward_extend(q, k, v, layer, forward_batch, save_kv_cache)
        pool = self.token_to_kv_pool
        if save_kv_cache:
            pool.set_kv_buffer(layer, KVWriteLoc(forward_batch.out_cache_loc, None), k, v)
        query = q.view(-1, layer.tp_q_head_num, layer.qk_head_dim)
        out = torch.empty_like(query)
        keys, values = pool.get_kv_buffer(layer.layer_id)
        tree_attention(query, keys, values, out, rows, layer.scaling)
        return out.flatten(1)


class CPUTargetKV:
    """The last layer's pool as a :class:`proposers.base.TargetKV`."""

    def __init__(
        self, keys: Tensor, values: Tensor, prefix: Tensor, table: Tensor, table_row: Tensor
    ) -> None:
        self.keys, self.values = keys, values
        self.prefix, self.table, self.table_row = prefix, table, table_row

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, head_dim]``, over the ``prefix`` first tokens of each request."""
        rows = prefix_rows(query.shape[1], self.prefix, self.table, self.table_row)
        flat = query.flatten(0, 1).contiguous()
        out = torch.empty_like(flat)
        tree_attention(flat, self.keys, self.values, out, rows, query.shape[-1] ** -0.5)
        return out.view_as(query)


def register() -> None:
    """Take the place of the stock CPU backend in this process."""
    ATTENTION_BACKENDS[NAME] = TreeTorchBackend
