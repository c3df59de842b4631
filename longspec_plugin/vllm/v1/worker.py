"""The worker that builds our runner. Named by ``worker_cls``, vLLM's own option."""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.cpu_worker import CPUWorker

from ...options import LongSpecOptions
from . import attention
from .device import CPUDevice
from .linear import few_rows_products
from .runner import TreeRunner


class TreeCPURunner(TreeRunner, CPUModelRunner):
    """CPU runner with trees."""


class LongSpecCPUWorker(CPUWorker):
    """``init_device`` hard-codes the runner's class, so the runner changes class afterwards."""

    model_runner: Any
    vllm_config: Any

    def init_device(self) -> None:
        attention.register()
        super().init_device()
        self.model_runner.__class__ = TreeCPURunner
        self.model_runner.setup_longspec(CPUDevice(self.vllm_config))

    def load_model(self, **kwargs: Any) -> None:
        options = LongSpecOptions.from_json(self.vllm_config.additional_config["longspec"])
        with few_rows_products(bool(options.few_rows)):
            super().load_model(**kwargs)

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        super().initialize_from_config(kv_cache_config)
        self.model_runner.longspec_device.start(self.model_runner)
