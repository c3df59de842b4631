"""Trees on vLLM's CPU backend: what :class:`.runner.TreeRunner` asks of its device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proposers.tree import DraftTrees, ancestor_mask

from ...native import quicker_than_stock
from ...tree_rows import step_rows
from ..target import last_attention_layer
from ..tree_attention import check_layers
from .attention import CPUTargetKV, CPUTreeStep
from .cache import check_layout, move_slots


class CPUDevice:
    """Layout of attention, the last layer's KV, and moving KV, all in place."""

    def __init__(self, vllm_config: Any) -> None:
        self.config = vllm_config
        self.last_layer: Any = None
        self.attends_all = False

    def start(self, runner: Any) -> None:
        """Once the KV cache exists: check its layout and find the last layer."""
        check_layers(self.config)
        cache = runner.kv_caches[0]
        check_layout(cache.dtype, cache.shape[3] // 2, cache.shape[2])
        self.attends_all = quicker_than_stock(cache.dtype)
        layers = self.config.compilation_config.static_forward_context
        self.last_layer = layers[last_attention_layer(self.config)]

    def tree_step(self, runner: Any, trees: DraftTrees | None) -> CPUTreeStep | None:
        """Tree rows of this step, and all others where these are ours as well; None if there are
        none. A decode row without drafts counts as a tree of its root."""
        if trees is None and not self.attends_all:
            return None
        count = runner.input_batch.num_reqs
        lengths = runner.query_start_loc.cpu[: count + 1].long().diff()
        prefix = runner.input_batch.num_computed_tokens_cpu_tensor[:count].long()
        table = runner.input_batch.block_table[0].get_cpu_tensor()[:count]
        if trees is None:
            carries, mask = lengths == 1, torch.ones(count, 1, 1)
        else:
            carries, mask = lengths == trees.sizes + 1, ancestor_mask(trees)
        if self.attends_all or bool(carries.all()):
            return CPUTreeStep(step_rows(lengths, prefix, table, carries, mask), None)
        rows = step_rows(*(part[carries] for part in (lengths, prefix, table, carries, mask)))
        return CPUTreeStep(rows, torch.repeat_interleave(carries, lengths).nonzero().squeeze(1))

    def target_kv(self, runner: Any, rows: Tensor, prefix: Tensor) -> CPUTargetKV:
        table = runner.input_batch.block_table[0].get_cpu_tensor()[rows].contiguous()
        layer = self.last_layer
        return CPUTargetKV(layer.kv_cache, prefix, table, layer.impl.scale)

    def move(self, runner: Any, source: Tensor, target: Tensor) -> None:
        move_slots(runner.kv_caches, source.contiguous(), target.contiguous())
