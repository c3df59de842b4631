"""The formulas: exact numbers, and what must hold for any numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.numbers import metrics
from eval.records.counters import at_least

histograms = st.lists(st.integers(0, 50), min_size=1, max_size=9)


def test_acceptance_length_counts_the_bonus_token() -> None:
    assert metrics.acceptance_length(10, 15) == 2.5
    assert metrics.acceptance_length(0, 0) is None


def test_pooled_and_macro_may_order_differently() -> None:
    requests = [(100, 100), (1, 4)]
    assert metrics.acceptance_length(101, 104) == pytest.approx(1 + 104 / 101)
    assert metrics.macro_acceptance_length(requests) == pytest.approx((2 + 5) / 2)
    assert metrics.macro_acceptance_length([(0, 0)]) is None


def test_effective_length_counts_undrafted_steps() -> None:
    # 21 tokens: 1 of prefill, 3 verify steps yield 3 + 5, so 12 steps had no draft.
    assert metrics.effective_acceptance_length([(21, 3, 5)]) == pytest.approx(20 / 15)
    assert metrics.effective_acceptance_length([(21, 0, 0)]) == 1.0
    assert metrics.effective_acceptance_length([(1, 0, 0)]) is None


def test_effective_length_of_an_answer_cut_within_a_step() -> None:
    assert metrics.effective_acceptance_length([(4, 1, 4)]) == 3.0


def test_rates() -> None:
    assert metrics.acceptance_rate(110, 22) == 0.2
    assert metrics.acceptance_rate(0, 0) is None
    assert metrics.path_acceptance_rate(10, 22, 4) == 0.55
    assert metrics.path_acceptance_rate(10, 22, None) is None
    assert metrics.path_acceptance_rate(0, 0, 4) is None


def test_joint_and_conditional_rates() -> None:
    per_position = [8, 4, 1, 0, 0]
    assert metrics.joint_per_position(per_position, 10) == [0.8, 0.4, 0.1]
    assert metrics.conditional_per_position(per_position, 10) == [0.8, 0.5, 0.25]
    assert metrics.joint_per_position([], 0) == []
    assert metrics.conditional_per_position([], 0) == []


def test_at_least_from_exactly() -> None:
    assert at_least([2, 3, 0, 5, 0, 0]) == [8, 5, 5]
    assert at_least([4]) == []


def test_spread_skips_what_is_missing() -> None:
    found = metrics.spread([1.0, None, 3.0])
    assert (found["mean"], found["p50"]) == (2.0, 2.0)
    assert found["p95"] == pytest.approx(2.9)
    assert set(metrics.spread([None]).values()) == {None}


def test_busy_seconds() -> None:
    assert metrics.busy_seconds([(3.0, 4.0), (0.0, 1.0), (0.5, 2.0), (0.6, 0.7)]) == 3.0
    assert metrics.busy_seconds([]) == 0.0


def test_limits() -> None:
    times = {"ttft": 10.0, "tpot": None, "latency": 100.0}
    assert metrics.meets({"ttft": 10.0, "tpot": 1.0}, times)
    assert not metrics.meets({"latency": 99.0}, times)
    assert not metrics.meets({"ttft": 1.0}, {"ttft": None})


def test_step_ms_is_pooled() -> None:
    assert metrics.step_ms([90.0, 10.0], [9, 1]) == 10.0
    assert metrics.step_ms([], []) is None


def test_where_steps_begin() -> None:
    assert metrics.step_lengths([2, 0, 3]) == [1, 4, 5]
    assert metrics.step_lengths([]) == []


def test_bins_double() -> None:
    found = metrics.by_length([(0, 1), (31, 2), (32, 4), (64, 0), (127, 1)], 32)
    assert found == [(0, 32, 2, 2.5), (32, 64, 1, 5.0), (64, 128, 2, 1.5)]


def test_tpot() -> None:
    assert metrics.tpot_ms(110.0, 10.0, 11) == 10.0
    assert metrics.tpot_ms(110.0, 10.0, 1) is None
    assert metrics.tpot_ms(110.0, None, 11) is None


def test_speedup_is_the_geometric_mean() -> None:
    found = metrics.paired_speedup([2.0, 8.0] * 3, [1.0, 16.0] * 3)
    assert found["mean"] == pytest.approx(1.0)
    assert found["low"] == pytest.approx(0.574, abs=0.08)
    assert found["high"] == pytest.approx(1.741, abs=0.25)


def test_speedup_without_enough_prompts() -> None:
    assert metrics.paired_speedup([], []) == {"mean": None, "low": None, "high": None}
    assert metrics.paired_speedup([3.0], [2.0]) == {"mean": 1.5, "low": None, "high": None}
    assert metrics.paired_speedup([3.0] * 4, [2.0] * 4)["low"] is None
    assert metrics.paired_speedup([3.0] * 5, [2.0] * 5)["low"] == pytest.approx(1.5)


def test_first_difference() -> None:
    assert metrics.first_difference("same", "same") is None
    assert metrics.first_difference("same", "sane") == 2
    assert metrics.first_difference("sam", "same") == 3


@given(histograms)
def test_positions_sum_to_accepted(histogram: list[int]) -> None:
    accepted = sum(j * steps for j, steps in enumerate(histogram))
    assert sum(at_least(histogram)) == accepted


@given(histograms)
def test_joint_rates_fall_and_conditional_ones_multiply_to_them(histogram: list[int]) -> None:
    steps, per_position = sum(histogram), at_least(histogram)
    joint = metrics.joint_per_position(per_position, steps)
    conditional = metrics.conditional_per_position(per_position, steps)
    assert joint == sorted(joint, reverse=True)
    assert len(joint) == len(conditional)
    for i, p in enumerate(joint):
        assert math.prod(conditional[: i + 1]) == pytest.approx(p)


@given(histograms)
def test_length_is_one_plus_the_sum_of_joint_rates(histogram: list[int]) -> None:
    steps, per_position = sum(histogram), at_least(histogram)
    length = metrics.acceptance_length(steps, sum(per_position))
    if length is not None:
        assert sum(metrics.joint_per_position(per_position, steps)) + 1 == pytest.approx(length)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60), st.integers(0, 90))))
def test_effective_length_never_exceeds_the_pooled_one(drawn: list[tuple[int, int, int]]) -> None:
    requests = [(1 + s + min(a, 4 * s) + plain, s, min(a, 4 * s)) for s, a, plain in drawn]
    effective = metrics.effective_acceptance_length(requests)
    steps, accepted = sum(r[1] for r in requests), sum(r[2] for r in requests)
    pooled = metrics.acceptance_length(steps, accepted)
    if effective is not None:
        assert 1 <= effective <= (pooled or 1) + 1e-9


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=5, max_size=12), st.floats(0.2, 5))
def test_a_constant_speedup_is_found_exactly(arm: list[float], factor: float) -> None:
    found = metrics.paired_speedup([factor * value for value in arm], arm)
    for name in ("mean", "low", "high"):
        assert found[name] == pytest.approx(factor)


intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=12)


@given(intervals)
def test_busy_time_is_that_of_the_seconds_covered(drawn: list[tuple[int, int]]) -> None:
    covered = {second for start, length in drawn for second in range(start, start + length)}
    assert metrics.busy_seconds((s, s + n) for s, n in drawn) == len(covered)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 9)), max_size=40))
def test_bins_hold_every_step_once(steps: list[tuple[int, int]]) -> None:
    found = metrics.by_length(steps, 32)
    assert sum(count for *_, count, _ in found) == len(steps)
    for low, high, count, _ in found:
        assert count == sum(low <= length < high for length, _ in steps)
