"""The GPU worker that builds our runner. Named by ``worker_cls``, vLLM's own option."""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.gpu.model_runner import GPUModelRunner
from vllm.v1.worker.gpu_worker import Worker

from . import attention_flash, attention_triton
from .attention import Kind
from .runner import TreeRunner


class TreeGPURunner(TreeRunner, GPUModelRunner):
    """GPU runner with trees."""

    def kind(self, impl: Any) -> Kind:
        flash = isinstance(impl, attention_flash.TreeFlashImpl)
        return attention_flash.KIND if flash else attention_triton.KIND


class LongSpecWorker(Worker):
    """The runner is built by an overridable method."""

    def _make_model_runner(self) -> Any:
        attention_triton.register()
        attention_flash.register()
        return TreeGPURunner(self.vllm_config, self.device)
