"""The GPU's attention backend in the CPU worker: its kernels too run in Triton's interpreter."""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.worker.cpu import model_runner
from vllm.v1.worker.cpu_worker import CPUWorker

from longspec_plugin.vllm.tree_attention import take_the_place_of
from longspec_plugin.vllm.v2 import attention
from longspec_plugin.vllm.v2.runner import TreeRunner


class TritonRunner(TreeRunner, model_runner.CPUModelRunner):
    """As ``v2.worker.TreeGPURunner``, on the CPU."""

    views = staticmethod(attention.views)


class TritonWorker(CPUWorker):
    """Model Runner V2 with the cache, the metadata and the attention that a GPU has."""

    model_runner: Any

    def init_device(self) -> None:
        torch.cuda.get_device_capability = lambda device=None: (9, 0)  # stock kernels ask
        take_the_place_of("CPU_ATTN", attention.TreeTritonBackend)
        stock, model_runner.CPUModelRunner = model_runner.CPUModelRunner, TritonRunner
        try:
            super().init_device()
        finally:
            model_runner.CPUModelRunner = stock
