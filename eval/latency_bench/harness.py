"""Timing of one repeated call: an estimate, a warm-up window, a measured window; no torch.

What a clock is and how caches are made cold is the stopwatch's business: a CPU has the host's,
``models`` has a GPU's, tests bring a fake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from statistics import median
from typing import Generic, Protocol, TypeVar

import numpy as np

ESTIMATES = 5  # calls that the estimate is of
REACH = 1.5  # inter-quartile ranges beyond the quartiles that a timing may lie
FINEST_MS = 1e-3  # an estimate of 0 would ask for endless calls

T = TypeVar("T")


class Stopwatch(Protocol):
    """Times one call at a time."""

    def flush(self) -> None:
        """Make the device's cache cold."""

    def start(self) -> None:
        """Begin, once all that was asked of the device before is done."""

    def stop(self) -> float:
        """Milliseconds since ``start``, once all that was asked of the device since is done."""
        raise NotImplementedError


class HostWatch:
    """The host's clock, for a CPU: there is nothing to wait for, and no cache is flushed."""

    def flush(self) -> None:
        """Nothing."""

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> float:
        return 1e3 * (time.perf_counter() - self.began)


@dataclass(frozen=True)
class Timings(Generic[T]):
    """What the calls of one benchmark took and returned.

    Attributes:
        raw_ms: milliseconds of every measured call, in order.
        filtered_ms: those of ``raw_ms`` that :func:`within_fences` keeps.
        outputs: what the measured calls returned, in the order of ``raw_ms``.
        estimate_ms: median of the five calls that went first.
        warmup_calls: calls between the estimate and the measurement.
    """

    raw_ms: list[float]
    filtered_ms: list[float]
    outputs: list[T]
    estimate_ms: float
    warmup_calls: int

    @property
    def n_calls(self) -> int:
        """All calls: estimate, warm-up and measurement."""
        return ESTIMATES + self.warmup_calls + len(self.raw_ms)


@dataclass(frozen=True)
class Call:
    """A call has ended: the how-manieth of how many, and whether it was measured."""

    number: int
    planned: int
    measured: bool
    ms: float

    @property
    def last(self) -> bool:
        """Whether its benchmark is over."""
        return self.measured and self.number == self.planned


Listener = Callable[[Call], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell ``listener`` of every call that ends within; it runs untimed."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def calls_in(window_ms: float, estimate_ms: float) -> int:
    """``max(1, int(window / estimate))`` calls fit a window."""
    return max(1, int(window_ms / max(estimate_ms, FINEST_MS)))


def benchmark(
    call: Callable[[], T],
    watch: Stopwatch,
    warmup_ms: float,
    rep_ms: float,
    setup: Callable[[], object] | None = None,
) -> Timings[T]:
    """Time ``call``: five calls for an estimate, then a warm-up and a measured window.

    The estimate is the median of its five calls, so that a slow first one, which loads kernels,
    does not shrink the windows. What they and the warm-up calls took and returned is in no number.

    Args:
        warmup_ms, rep_ms: milliseconds of the windows, at least one call each.
        setup: runs before every call, untimed, and before the cache is flushed.
    """

    def once(number: int, planned: int, measured: bool) -> tuple[float, T]:
        if setup is not None:
            setup()
        watch.flush()
        watch.start()
        output = call()
        taken = watch.stop()
        if listener := _listener.get():
            listener(Call(number, planned, measured, taken))
        return taken, output

    estimate = median(once(i + 1, ESTIMATES, False)[0] for i in range(ESTIMATES))
    warmups, measured = calls_in(warmup_ms, estimate), calls_in(rep_ms, estimate)
    for i in range(warmups):
        once(i + 1, warmups, False)
    found = [once(i + 1, measured, True) for i in range(measured)]
    raw = [taken for taken, _ in found]
    return Timings(raw, within_fences(raw), [output for _, output in found], estimate, warmups)


def within_fences(values: Sequence[float]) -> list[float]:
    """The values in ``[Q1 - 1.5 IQR, Q3 + 1.5 IQR]`` (Tukey's fences), in order; at least one.

    Quartiles are interpolated linearly. Of one value, or of equal ones, all are kept.
    """
    if len(values) < 2:
        return list(values)
    first, third = np.percentile(values, (25, 75))
    reach = REACH * (third - first)
    return [value for value in values if first - reach <= value <= third + reach] or list(values)
