"""Drafting as one graph for each size of batch, captured at start and replayed for what fits."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Iterable
from functools import partial

import torch

Replay = Callable[[], None]
Record = Callable[[Callable[[], None]], Replay]
"""Records a region's work on the device; what comes back does it again."""
logger = logging.getLogger("vllm.longspec")
MOST_REQUESTS = 256
"""Larger batches are drafted for without a graph: their work hides that of launching it."""


def cuda_graph(region: Callable[[], None]) -> Replay:
    """One CUDA graph of ``region``, in the memory that vLLM's graphs share."""
    from vllm.distributed.parallel_state import graph_capture
    from vllm.platforms import current_platform

    graph, device = torch.cuda.CUDAGraph(), torch.device("cuda", torch.cuda.current_device())
    with graph_capture(device=device) as context:
        region()  # compiles kernels, fills caches
        pool = current_platform.get_global_graph_pool()
        with torch.cuda.graph(graph, pool, stream=context.stream):
            region()
    return graph.replay


class DraftGraphs:
    """Replays of a region that takes how many requests it drafts for.

    Args:
        region: drafts for the first so many requests of persistent buffers; it is given sizes of
            which there are graphs, so buffers must hold harmless values behind the batch.
    """

    def __init__(self, region: Callable[[int], None], record: Record = cuda_graph) -> None:
        self.region, self.record = region, record
        self.replays: dict[int, Replay] = {}
        self.sizes: list[int] = []

    def capture(self, sizes: Iterable[int]) -> None:
        """Capture anew for these numbers of requests, the largest first: others fit its memory."""
        self.replays, self.sizes = {}, sorted(set(sizes))
        free = _free()
        for size in reversed(self.sizes):
            self.replays[size] = self.record(partial(self.region, size))
        if self.replays:
            taken = max(free - _free(), 0) / 2**20
            logger.info(
                "longspec: drafting captured for batches of %s, %.0f MiB of graphs",
                ", ".join(map(str, self.sizes)),
                taken,
            )

    def size_for(self, count: int) -> int | None:
        """The least captured size that holds ``count`` requests."""
        at = bisect.bisect_left(self.sizes, count)
        return self.sizes[at] if at < len(self.sizes) else None

    def run(self, count: int) -> None:
        """Draft for the first ``count`` requests, by a graph where one is large enough."""
        size = self.size_for(count)
        if size is None:
            self.region(count)
        else:
            self.replays[size]()


def draft_sizes(most: int) -> list[int]:
    """Numbers of requests to capture for, up to ``most`` of a batch: close together where a cycle
    is short."""
    steps = [1, 2, 4, *range(8, 64, 8), *range(64, MOST_REQUESTS + 1, 32), most]
    return sorted({size for size in steps if size <= min(most, MOST_REQUESTS)})


def _free() -> int:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
