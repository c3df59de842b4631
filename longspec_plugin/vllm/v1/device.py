"""Trees on vLLM's CPU backend: what :class:`.runner.TreeRunner` asks of its device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proposers.tree import DraftTrees

from ...tree_rows import TreeRows
from ..target import last_attention_layer
from ..tree_attention import check_layers
from .attention import CPUTargetKV, CPUTreeStep
from .cache import check_layout, move_slots


class CPUDevice:
    """Layout of attention, the last layer's KV, and moving KV, all in place."""

    def __init__(self, vllm_config: Any) -> None:
        self.config = vllm_config
        self.last_layer: Any = None

    def start(self, runner: Any) -> None:
        """Once the KV cache exists: check its layout and find the last layer."""
        check_layers(self.config)
        cache = runner.kv_caches[0]
        check_layout(cache.dtype, cache.shape[3] // 2, cache.shape[2])
        layers = self.config.compilation_config.static_forward_context
        self.last_layer = layers[last_attention_layer(self.config)]

    def tree_step(self, runner: Any, trees: DraftTrees, mask: Tensor) -> CPUTreeStep:
        """Tree rows of this step; a decode row without drafts counts as a tree of its root."""
        count = trees.batch_size
        first = runner.query_start_loc.cpu[: count + 1].long()
        lengths = first[1:] - first[:-1]
        carries = lengths == trees.sizes + 1
        prefix = runner.input_batch.num_computed_tokens_cpu_tensor[:count].long()
        table = runner.input_batch.block_table[0].get_cpu_tensor()[:count]
        if bool(carries.all()):
            rows = TreeRows(
                first, prefix, lengths, mask.to(torch.uint8), table, torch.arange(count)
            )
            return CPUTreeStep(rows, None)
        own = lengths[carries]
        starts = torch.cat([own.new_zeros(1), own.cumsum(0)])
        row_ids = torch.repeat_interleave(carries, lengths).nonzero().squeeze(1)
        rows = TreeRows(
            starts,
            prefix[carries],
            own,
            mask[carries].to(torch.uint8).contiguous(),
            table,
            carries.nonzero().squeeze(1),
        )
        return CPUTreeStep(rows, row_ids)

    def target_kv(self, runner: Any, rows: Tensor, prefix: Tensor) -> CPUTargetKV:
        table = runner.input_batch.block_table[0].get_cpu_tensor()[rows].contiguous()
        layer = self.last_layer
        return CPUTargetKV(layer.kv_cache, prefix, table, layer.impl.scale)

    def move(self, runner: Any, source: Tensor, target: Tensor) -> None:
        move_slots(runner.kv_caches, source.contiguous(), target.contiguous())
