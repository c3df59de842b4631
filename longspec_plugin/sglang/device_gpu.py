"""Trees on SGLang's GPU backends, by its own kernels. Written for a GPU; not yet run on one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SPLITS = 8  # parts of a long prefix that the decode kernel reads side by side


class GPUDevice:
    """Steps have one width, as CUDA graphs need; the whole mask goes to the stock backend."""

    whole_mask = True
    fixed_width = True

    @staticmethod
    def prepare() -> None:
        """Nothing to change before SGLang allocates its pools."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner

    def target_kv(self, batch: Any) -> GPUTargetKV:
        """The last layer's KV of the batch's requests."""
        pool = self.runner.token_to_kv_pool
        keys, values = pool.get_kv_buffer(pool.start_layer + pool.layer_num - 1)
        table = self.runner.req_to_token_pool.req_to_token
        return GPUTargetKV(keys, values, batch.seq_lens, table, batch.req_pool_indices)

    def move(self, batch: Any, rows: Tensor, width: int) -> None:
        """Bring the KV of accepted rows (``[B, D + 1]``, -1 pads) right behind the prefix."""
        from sglang.srt.speculative.spec_utils import move_accept_tokens_to_target_kvcache

        first = torch.arange(len(rows), device=rows.device)[:, None] * width
        index = torch.where(rows >= 0, rows + first, -1).to(torch.int32)
        drafts = (rows >= 0).sum(1, dtype=torch.int32) - 1
        move_accept_tokens_to_target_kvcache(
            batch, index, drafts, self.runner.token_to_kv_pool_allocator
        )


class GPUTargetKV:
    """The last layer's pool as a :class:`proposers.base.TargetKV`, read by the decode kernel.

    Every draft row is a sequence of its own to the kernel, over its request's slots.
    """

    def __init__(
        self, keys: Tensor, values: Tensor, prefix: Tensor, table: Tensor, table_row: Tensor
    ) -> None:
        self.keys, self.values, self.prefix = keys, values, prefix
        used = table[table_row, : int(prefix.max())]
        seen = torch.arange(used.shape[1], device=used.device) < prefix[:, None]
        self.slots, self.seen = used, seen

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, head_dim]``, over the ``prefix`` first tokens of each request."""
        from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd

        batch, width, heads, dim = query.shape
        rows = query.flatten(0, 1).contiguous()
        out = torch.empty_like(rows)
        lengths = self.prefix.repeat_interleave(width)
        starts = torch.zeros(len(rows) + 1, dtype=torch.int32, device=rows.device)
        starts[1:] = lengths.cumsum(0)
        slots = self.slots.repeat_interleave(width, 0)[self.seen.repeat_interleave(width, 0)]
        partial = torch.empty(
            len(rows), heads, SPLITS, dim, dtype=torch.float32, device=rows.device
        )
        decode_attention_fwd(
            rows,
            self.keys,
            self.values,
            out,
            starts,
            slots,
            partial,
            partial.new_empty(len(rows), heads, SPLITS),
            torch.full((len(rows),), SPLITS, dtype=torch.int32, device=rows.device),
            SPLITS,
            dim**-0.5,
            1.0,
            1.0,
        )
        return out.view(batch, width, heads, dim)
