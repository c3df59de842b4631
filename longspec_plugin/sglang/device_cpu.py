"""Trees on SGLang's CPU backend: what :class:`.worker.LongSpecWorker` asks of its device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import attention_cpu, cpu_gaps
from .attention_cpu import CPUTargetKV
from .cpu_cache import move_slots


class CPUDevice:
    """The last layer's KV and moving KV, all in place; steps are as wide as their widest tree."""

    whole_mask = False
    fixed_width = False

    @staticmethod
    def prepare() -> None:
        """Before SGLang allocates its pools."""
        attention_cpu.register()
        cpu_gaps.bridge()

    def __init__(self, runner: Any) -> None:
        self.runner = runner

    def target_kv(self, batch: Any) -> CPUTargetKV:
        """The last layer's KV of the batch's requests."""
        pool = self.runner.token_to_kv_pool
        keys, values = pool.get_kv_buffer(pool.start_layer + pool.layer_num - 1)
        table = self.runner.req_to_token_pool.req_to_token
        lengths, rows = batch.seq_lens.long(), batch.req_pool_indices.long()
        return CPUTargetKV(keys, values, lengths, table, rows)

    def move(self, batch: Any, rows: Tensor, width: int) -> None:
        """Bring the KV of accepted rows (``[B, D + 1]``, -1 pads) right behind the prefix."""
        depth = torch.arange(rows.shape[1])
        moved = (rows > 0) & (rows != depth)
        if not bool(moved.any()):
            return
        slots = batch.out_cache_loc.view(-1, width).long()
        source = slots.gather(1, rows.clamp(min=0))[moved]
        target = slots[:, : rows.shape[1]][moved]
        pool = self.runner.token_to_kv_pool
        move_slots([*pool.k_buffer, *pool.v_buffer], source.contiguous(), target.contiguous())
