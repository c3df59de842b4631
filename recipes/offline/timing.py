"""Milliseconds and bytes of a call, on a CPU or a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

WARM_UP = 5
Call = Callable[[], Any]


def keep_memory() -> None:
    """Let glibc keep what is freed, for all calls alike.

    Otherwise it depends on the process whether temporaries of megabytes go back to the system after
    each call and are faulted in again by the next: the same call took 13 or 31 ms.
    """
    trim_threshold, mmap_threshold, never, most = -1, -3, -1, 2**25
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, never)
        mallopt(mmap_threshold, most)


def timed(what: dict[str, Call], repeats: int, device: str) -> dict[str, list[float]]:
    """Milliseconds of ``repeats`` calls of each, taking turns, after a warm-up of each."""
    clock = _cuda_clock() if device == "cuda" else _clock
    for call in what.values():
        for _ in range(WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(repeats):
        for name, call in what.items():
            times[name].append(clock(call))
    return times


def wall(call: Call, repeats: int, device: str) -> float:
    """Median milliseconds until a call's work is done: the host's part too, nothing flushed."""

    def finished() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return statistics.median(timed({"": finished}, repeats, "cpu")[""])


def _clock(call: Call) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def _cuda_clock() -> Callable[[Call], float]:
    # Many times the L2 cache: while this is written, the host launches the call's kernels, so
    # that what lies between the events is the device's time and not Python's.
    flush = torch.empty(2**30, dtype=torch.uint8, device="cuda")

    def clock(call: Call) -> float:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        torch.cuda.synchronize()
        flush.zero_()
        events[0].record()
        call()
        events[1].record()
        torch.cuda.synchronize()
        return events[0].elapsed_time(events[1])

    return clock


def copy_speed(device: str) -> float:
    """GB/s that a copy of memory reads and writes."""
    source = torch.ones(2**30 if device == "cuda" else 2**27, dtype=torch.uint8, device=device)
    copy = partial(torch.empty_like(source).copy_, source)
    return 2 * source.numel() / 1e6 / statistics.median(timed({"": copy}, 15, device)[""])


def peak(call: Call, device: str) -> float | None:
    """MiB that a call allocates beyond its inputs; unknown on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
