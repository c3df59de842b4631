"""The harness against a clock that the test sets."""

from __future__ import annotations

import pytest

from eval.latency_bench.harness import (
    Call,
    HostWatch,
    Timings,
    benchmark,
    calls_in,
    listening,
    within_fences,
)

from .fake import FakeWatch


def run(
    watch: FakeWatch, warmup_ms: float = 100, rep_ms: float = 1000, setup: bool = False
) -> Timings[int]:
    """Time a call that returns its own number."""
    done: list[int] = []

    def call() -> int:
        watch.events.append("call")
        done.append(len(done))
        return done[-1]

    def prepare() -> None:
        watch.events.append("setup")

    return benchmark(call, watch, warmup_ms, rep_ms, prepare if setup else None)


def test_windows_in_calls() -> None:
    found = run(FakeWatch(lambda i: 10.0))
    assert (found.estimate_ms, found.warmup_calls, len(found.raw_ms)) == (10, 10, 100)
    assert found.n_calls == 5 + 10 + 100


@pytest.mark.parametrize(
    ("window", "estimate", "calls"), [(100, 30, 3), (100, 100, 1), (100, 101, 1), (0, 5, 1)]
)
def test_calls_in(window: float, estimate: float, calls: int) -> None:
    assert calls_in(window, estimate) == calls


def test_a_clock_too_coarse_ends() -> None:
    assert calls_in(1, 0.0) == 1000


def test_a_slow_first_call_shrinks_no_window() -> None:
    found = run(FakeWatch(lambda i: 5000.0 if i == 0 else 10.0))
    assert (found.estimate_ms, len(found.raw_ms)) == (10, 100)


def test_estimate_and_warm_up_are_in_no_number() -> None:
    found = run(FakeWatch(lambda i: 1.0 if i < 5 else 1000.0 if i < 5 + 20 else 2.0), 20, 10)
    assert found.warmup_calls == 20
    assert found.raw_ms == [2.0] * 10
    assert found.outputs == list(range(25, 35))


def test_setup_and_flush_are_untimed() -> None:
    watch = FakeWatch(lambda i: 1e6)
    run(watch, setup=True)
    assert watch.events == ["setup", "flush", "start", "call", "stop"] * 7


def test_outliers_go() -> None:
    assert within_fences([1.0, 1.1, 1.2, 1.3, 9.0]) == [1.0, 1.1, 1.2, 1.3]
    assert within_fences([9.0, 1.3, 1.2, 1.1, -9.0]) == [1.3, 1.2, 1.1]
    found = run(FakeWatch(lambda i: 50.0 if i == 20 else 10.0 + i % 2))
    assert 50.0 in found.raw_ms
    assert found.filtered_ms == [ms for ms in found.raw_ms if ms != 50.0]


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [0.1] * 9, [1.0, 2.0], [1.0, 50.0]])
def test_nothing_goes_of_few_or_equal_ones(values: list[float]) -> None:
    assert within_fences(values) == values


def test_the_fence_itself_is_inside() -> None:
    """Quartiles 1 and 3 of these: the fences are at -2 and 6."""
    assert within_fences([1.0, 1.0, 2.0, 3.0, 6.0]) == [1.0, 1.0, 2.0, 3.0, 6.0]
    assert within_fences([1.0, 1.0, 2.0, 3.0, 6.01]) == [1.0, 1.0, 2.0, 3.0]


def test_a_call_longer_than_its_window() -> None:
    found = run(FakeWatch(lambda i: 5000.0))
    assert (found.raw_ms, found.filtered_ms, found.n_calls) == ([5000.0], [5000.0], 7)


def test_listeners_hear_every_call() -> None:
    heard: list[Call] = []
    with listening(heard.append):
        run(FakeWatch(lambda i: 10.0), 20, 30)
    run(FakeWatch(lambda i: 10.0))
    assert [(call.number, call.planned, call.measured) for call in heard] == [
        *((i, 5, False) for i in range(1, 6)),
        *((i, 2, False) for i in range(1, 3)),
        *((i, 3, True) for i in range(1, 4)),
    ]
    assert [call.last for call in heard] == [False] * 9 + [True]


def test_the_hosts_clock() -> None:
    found = benchmark(lambda: sum(range(1000)), HostWatch(), 0.1, 0.1)
    assert 0 < found.raw_ms[0] < 1000
