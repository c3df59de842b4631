"""The CPU worker with Model Runner V2: where a Triton for CPUs is, and under its interpreter."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# isort: off
from vllm.v1.worker.cpu_worker import CPUWorker  # first: it prepares torch for the runner below
from vllm.v1.worker.cpu import model_runner

# isort: on
from ..v1 import attention, cache
from .attention import Kind
from .attention_triton import paged
from .runner import TreeRunner


class TreeCPURunner(TreeRunner, model_runner.CPUModelRunner):
    """CPU runner with trees; attention and cache are those of the CPU build."""

    def kind(self, impl: Any) -> Kind:
        return paged(cache.views)


class LongSpecWorker(CPUWorker):
    """``init_device`` hard-codes the runner's class: ours takes its name meanwhile."""

    model_runner: Any
    runner_class: type[TreeRunner] = TreeCPURunner

    def init_device(self) -> None:
        self.register_attention()
        stock, model_runner.CPUModelRunner = model_runner.CPUModelRunner, self.runner_class
        try:
            super().init_device()
        finally:
            model_runner.CPUModelRunner = stock

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        super().initialize_from_config(kv_cache_config)
        self.check_cache(self.model_runner.kv_caches[0])

    def register_attention(self) -> None:
        attention.register()

    def check_cache(self, first: Tensor) -> None:
        """Refuse a cache, by its first layer's, that our views read wrongly."""
        cache.check_layout(first.dtype, first.shape[3] // 2, first.shape[2])
