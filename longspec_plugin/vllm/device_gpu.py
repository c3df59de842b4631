"""Trees on vLLM's Triton backend. Written for a GPU; not yet run on one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from proposers.tree import DraftTrees

from .attention_gpu import GPUTargetKV, GPUTree
from .last_layer import last_attention_layer


class GPUDevice:
    """What :class:`.runner.TreeRunner` asks of its device."""

    def __init__(self, vllm_config: Any) -> None:
        self.config = vllm_config
        self.last_layer: Any = None

    def start(self, runner: Any) -> None:
        """Once the KV cache exists: find the last layer."""
        layers = self.config.compilation_config.static_forward_context
        self.last_layer = layers[last_attention_layer(self.config)]

    def tree_step(self, runner: Any, trees: DraftTrees, mask: Tensor) -> list[GPUTree]:
        """The trees of this step; requests without drafts stay with the stock kernel."""
        first = runner.query_start_loc.cpu.tolist()
        computed = runner.input_batch.num_computed_tokens_cpu
        table = runner.input_batch.block_table[0].get_device_tensor(trees.batch_size)
        mask = mask.to(table.device)
        steps = []
        for request, nodes in enumerate(trees.sizes.tolist()):
            if not nodes:
                continue
            count = nodes + 1
            length = int(computed[request]) + count
            steps.append(
                GPUTree(
                    first[request],
                    count,
                    runner.seq_lens[request : request + 1],
                    length,
                    table[request : request + 1],
                    mask[request, :count, :count],
                )
            )
        return steps

    def target_kv(self, runner: Any, rows: Tensor, prefix: Tensor) -> GPUTargetKV:
        table = runner.input_batch.block_table[0].get_device_tensor(runner.input_batch.num_reqs)
        device = table.device
        layer = self.last_layer
        return GPUTargetKV(
            layer.kv_cache,
            prefix.to(device),
            int(prefix.max()),
            table[rows.to(device)],
            layer.impl.scale,
        )

    def move(self, runner: Any, source: Tensor, target: Tensor) -> None:
        """Reads of a layer are gathered before its writes, so slots may come in any order."""
        for cache in runner.kv_caches:
            size = cache.shape[2]
            moved = cache[source // size, :, source % size]
            cache[target // size, :, target % size] = moved
