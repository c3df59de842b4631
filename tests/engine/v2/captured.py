"""vLLM's capture of whole steps on a CPU: each CUDA graph is a recording, played again.

A runner mixed in here captures its uniform decode batches and its drafting as on a GPU, and
dispatches to them; what stands for a graph is :mod:`tests.interpreter.recording`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from vllm.config.compilation import CUDAGraphMode
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.worker.gpu import cudagraph_utils, model_runner

from tests.interpreter.recording import Recording, record, recording

SIZES = [1, 2, 4, 6, 8, 16, 24, 32, 48]


@contextmanager
def graph(made: Recording, pool: Any = None, stream: Any = None) -> Iterator[None]:
    """In place of ``torch.cuda.graph``."""
    with recording(made):
        yield


class Captured:
    """Mixed in before a runner of ours."""

    vllm_config: Any
    speculator: Any

    def initialize_kv_cache(self, *args: Any, **kwargs: Any) -> None:
        config = self.vllm_config.compilation_config
        config.cudagraph_mode = CUDAGraphMode.FULL_DECODE_ONLY
        config.cudagraph_capture_sizes, config.max_cudagraph_capture_size = SIZES, SIZES[-1]
        for graphs in (self.speculator.graphs, self.speculator.chain_graphs):
            graphs.record = lambda region: record(region).replay
        with patch.object(cudagraph_utils.current_platform, "get_global_graph_pool", object):
            super().initialize_kv_cache(*args, **kwargs)  # type: ignore[misc]

    def capture_model(self, *args: Any, **kwargs: Any) -> Any:
        accelerator = {"empty_cache": lambda: None, "get_memory_info": lambda: (0, 0)}
        with (
            patch.multiple(torch.accelerator, **accelerator),
            patch.object(model_runner, "lock_workspace", lambda: None),
            patch.multiple(torch.cuda, CUDAGraph=Recording, graph=graph),
            patch.multiple(
                cudagraph_utils,
                graph_capture=lambda device: nullcontext(),
                capture_pool=lambda pool, config: nullcontext(),
                current_stream=lambda: None,
            ),
        ):
            return super().capture_model(*args, **kwargs)  # type: ignore[misc]


def direct_attention() -> None:
    """Attention is called, not dispatched as one operator: what it does is recorded, not itself."""
    CpuPlatform.opaque_attention_op = classmethod(lambda cls: False)
