"""The GPU worker that builds our runner. Named by ``worker_cls``, vLLM's own option."""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.gpu.model_runner import GPUModelRunner
from vllm.v1.worker.gpu_worker import Worker

from . import attention
from .runner import TreeRunner


class TreeGPURunner(TreeRunner, GPUModelRunner):
    """GPU runner with trees."""

    views = staticmethod(attention.views)


class LongSpecWorker(Worker):
    """The runner is built by an overridable method."""

    def _make_model_runner(self) -> Any:
        attention.register()
        return TreeGPURunner(self.vllm_config, self.device)
