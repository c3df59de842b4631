"""Workers that build our runner. Named by ``worker_cls``, vLLM's own option."""

from __future__ import annotations

from typing import Any

import torch
from vllm.platforms import current_platform
from vllm.v1.worker.gpu_worker import Worker

from .runner import TreeRunner


class _TreeWorker:
    """What the CPU and the GPU worker share."""

    model_runner: Any
    vllm_config: Any

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        super().initialize_from_config(kv_cache_config)  # type: ignore[misc]
        self.model_runner.longspec_device.start(self.model_runner)


if current_platform.is_cpu():
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner
    from vllm.v1.worker.cpu_worker import CPUWorker

    from . import attention_cpu
    from .device_cpu import CPUDevice

    class TreeCPURunner(TreeRunner, CPUModelRunner):
        """CPU runner with trees."""

    class LongSpecCPUWorker(_TreeWorker, CPUWorker):
        """``init_device`` hard-codes the runner's class, so the runner changes class afterwards."""

        def init_device(self) -> None:
            attention_cpu.register(self.vllm_config)
            super().init_device()
            self.model_runner.__class__ = TreeCPURunner
            self.model_runner.setup_longspec(CPUDevice(self.vllm_config))

else:
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    from . import attention_gpu
    from .device_gpu import GPUDevice

    class TreeGPURunner(TreeRunner, GPUModelRunner):
        """GPU runner with trees."""

    class LongSpecGPUWorker(_TreeWorker, Worker):
        """The runner is built by an overridable method here."""

        def _make_model_runner(self) -> TreeGPURunner:
            attention_gpu.register(self.vllm_config)
            runner = TreeGPURunner(self.vllm_config, torch.device(self.device))
            runner.setup_longspec(GPUDevice(self.vllm_config))
            return runner
