"""The CPU worker with Model Runner V2: where a Triton for CPUs is, and under its interpreter."""

from __future__ import annotations

from typing import Any

# isort: off
from vllm.v1.worker.cpu_worker import CPUWorker  # first: it prepares torch for the runner below
from vllm.v1.worker.cpu import model_runner

# isort: on
from ..v1 import attention, cache
from .runner import TreeRunner


class TreeCPURunner(TreeRunner, model_runner.CPUModelRunner):
    """CPU runner with trees; attention and cache are those of the CPU build."""

    views = staticmethod(cache.views)


class LongSpecWorker(CPUWorker):
    """``init_device`` hard-codes the runner's class: ours takes its name meanwhile."""

    model_runner: Any

    def init_device(self) -> None:
        attention.register()
        stock, model_runner.CPUModelRunner = model_runner.CPUModelRunner, TreeCPURunner
        try:
            super().init_device()
        finally:
            model_runner.CPUModelRunner = stock

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        super().initialize_from_config(kv_cache_config)
        first = self.model_runner.kv_caches[0]
        cache.check_layout(first.dtype, first.shape[3] // 2, first.shape[2])
