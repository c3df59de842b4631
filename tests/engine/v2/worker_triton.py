"""The GPU's attention backend in the CPU worker: its kernels too run in Triton's interpreter."""

from __future__ import annotations

import torch
from torch import Tensor

from longspec_plugin.vllm.tree_attention import take_the_place_of
from longspec_plugin.vllm.v2 import attention
from longspec_plugin.vllm.v2.worker_cpu import LongSpecWorker, TreeCPURunner


class TritonRunner(TreeCPURunner):
    """As ``v2.worker.TreeGPURunner``, on the CPU."""

    views = staticmethod(attention.views)


class TritonWorker(LongSpecWorker):
    """Model Runner V2 with the cache, the metadata and the attention that a GPU has."""

    runner_class = TritonRunner

    def register_attention(self) -> None:
        torch.cuda.get_device_capability = lambda device=None: (9, 0)  # stock kernels ask
        take_the_place_of("CPU_ATTN", attention.TreeTritonBackend)

    def check_cache(self, first: Tensor) -> None:
        """The Triton backend's cache is read as vLLM itself reads it."""
