"""Trees on SGLang's GPU backends, by its own kernels. Written for a GPU; not yet run on one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 16  # heads of a group that the decode kernel takes at once; larger groups must be multiples
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
        most = int(batch.seq_lens_cpu.sum())
        return GPUTargetKV(keys, values, batch.seq_lens, table, batch.req_pool_indices, most)

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

    To the kernel a request is one sequence with a query of as many heads as all its draft rows
    have: its slots are read once, whatever the rows.
    """

    def __init__(
        self,
        keys: Tensor,
        values: Tensor,
        prefix: Tensor,
        table: Tensor,
        table_rows: Tensor,
        most: int,
    ) -> None:
        """``prefix`` and ``table_rows``: ``[B]``; ``most``: no fewer than the sum of ``prefix``, as
        the host knows it."""
        from sglang.kernels.ops.attention.kv_indices import create_flashinfer_kv_indices_triton

        self.keys, self.values = keys, values
        self.starts = F.pad(prefix.cumsum(0, dtype=torch.int32), (1, 0))
        # int64: the kernel multiplies them, and a pool has more than 2 ** 31 elements
        self.slots = torch.zeros(most, dtype=torch.int64, device=keys.device)
        create_flashinfer_kv_indices_triton[(len(prefix),)](
            table, table_rows, prefix, self.starts, None, self.slots, table.stride(0)
        )

    def attend(self, query: Tensor) -> Tensor:
        """``[B, W, heads, head_dim]``, over the ``prefix`` first tokens of each request."""
        from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd

        batch, width, _, dim = query.shape
        kv_heads = self.keys.shape[1]
        grouped = query.view(batch, width, kv_heads, -1, dim).transpose(1, 2).flatten(2, 3)
        group = grouped.shape[2]
        padding = 0 if group <= BLOCK else -group % BLOCK
        rows = F.pad(grouped, (0, 0, 0, padding)).flatten(1, 2).contiguous()
        out = torch.empty_like(rows)
        partial = rows.new_empty(batch, rows.shape[1], SPLITS, dim, dtype=torch.float32)
        decode_attention_fwd(
            rows,
            self.keys,
            self.values,
            out,
            self.starts,
            self.slots,
            partial,
            partial.new_empty(batch, rows.shape[1], SPLITS),
            self.starts.new_full((batch,), SPLITS),
            SPLITS,
            dim**-0.5,
            1.0,
            1.0,
        )
        found = out.view(batch, kv_heads, -1, dim)[:, :, :group]
        return found.reshape(batch, kv_heads, width, -1, dim).transpose(1, 2).reshape(query.shape)
