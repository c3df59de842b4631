"""The GPU's attention backends in the CPU worker: their kernels too run in Triton's interpreter.

FlashAttention has no kernel for a CPU: plain torch stands in for it, called as FlashAttention is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.attention.backends import flash_attn

from longspec_plugin.vllm.tree_attention import take_the_place_of
from longspec_plugin.vllm.v2 import attention_flash, attention_triton
from longspec_plugin.vllm.v2.attention import Kind
from longspec_plugin.vllm.v2.worker_cpu import LongSpecWorker, TreeCPURunner
from proposers import kernels
from proposers.attention import paged_triton
from tests.interpreter.recording import as_kernel
from tests.unit.attention.flash import flash_attn_varlen_func

from .captured import Captured, direct_attention


class TritonRunner(TreeCPURunner):
    """As ``v2.worker.TreeGPURunner``, on the CPU."""

    def kind(self, impl: Any) -> Kind:
        flash = isinstance(impl, attention_flash.TreeFlashImpl)
        return attention_flash.KIND if flash else attention_triton.KIND


class TritonWorker(LongSpecWorker):
    """Model Runner V2 with the cache, the metadata and the attention that a GPU has in float32;
    prefixes are split, as those of few requests are.

    Attributes:
        fused: drafting too is that of a GPU, which takes the interpreter long.
    """

    fused = False
    runner_class: type[TreeCPURunner] = TritonRunner
    backend: type = attention_triton.TreeTritonBackend

    def register_attention(self) -> None:
        torch.cuda.get_device_capability = lambda device=None: (9, 0)  # stock kernels ask
        paged_triton.LEAST_SPLIT, attention_triton.parts = 16, lambda *sizes: 3
        kernels.runs_on = lambda device: self.fused
        take_the_place_of("CPU_ATTN", self.backend)

    def check_cache(self, first: Tensor) -> None:
        """The backend's cache is read as vLLM itself reads it."""


class FlashWorker(TritonWorker):
    """The same with hybrid attention."""

    backend = attention_flash.TreeFlashBackend

    def register_attention(self) -> None:
        super().register_attention()
        for name, stand_in in STAND_INS.items():
            setattr(flash_attn, name, stand_in)


class CapturedTritonRunner(Captured, TritonRunner):
    """With graphs of uniform steps and of drafting."""


class Capturing:
    """Mixed in before a worker."""

    runner_class = CapturedTritonRunner

    def register_attention(self) -> None:
        direct_attention()
        super().register_attention()  # type: ignore[misc]

    def compile_or_warm_up_model(self) -> Any:
        self.model_runner.capture_model()  # type: ignore[attr-defined]
        return super().compile_or_warm_up_model()  # type: ignore[misc]


class CapturingFlashWorker(Capturing, FlashWorker):
    """Hybrid attention in graphs."""


class CapturingTritonWorker(Capturing, TritonWorker):
    """Our paged kernel in graphs."""

    fused = True


class StaleMaskRunner(CapturedTritonRunner):
    """A fault: what a graph is captured with is a copy of the masks."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)
        stock = self.model_state.mask
        self.model_state.mask = lambda: stock().clone()


class StaleMaskWorker(CapturingFlashWorker):
    """Must not start."""

    runner_class = StaleMaskRunner


def store(
    key: Tensor, value: Tensor, keys: Tensor, values: Tensor, slots: Tensor, *scales: Any
) -> None:
    """In place of ``reshape_and_cache_flash``: rows to their slots, but for those of slot -1."""
    real = slots >= 0
    size, at = keys.shape[1], slots[real]
    keys[at // size, at % size] = key[: len(slots)][real]
    values[at // size, at % size] = value[: len(slots)][real]


def schedule(batch_size: int, **given: Any) -> Tensor:
    """In place of FlashAttention 3's division of work."""
    return torch.zeros(1 + batch_size, dtype=torch.int32)


STAND_INS: dict[str, Any] = {
    "flash_attn_varlen_func": as_kernel(flash_attn_varlen_func),
    "reshape_and_cache_flash": as_kernel(store),
    "get_scheduler_metadata": schedule,
    "get_flash_attn_version": lambda *args, **kwargs: 3,
}
