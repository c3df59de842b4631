"""The statistics are what their definitions say, on constructed calls."""

from __future__ import annotations

import pytest

from eval.latency_bench.harness import Timings
from eval.latency_bench.lines import lines
from eval.latency_bench.models import Generated
from eval.latency_bench.results import Row
from eval.latency_bench.rows import of_gamma
from eval.latency_bench.stats import (
    block_ms,
    call_stats,
    ceiling_tps,
    decode_stats,
    glide_stats,
    poe_stats,
    position_stats,
    time_stats,
)

from .fake import PoeCall, timings

CALLS = [
    [PoeCall(48, 16, drafted=80, steps=20), PoeCall(40, 24, drafted=96, steps=24)],  # original
    [PoeCall(40, 8, 16, drafted=64, steps=16), PoeCall(30, 14, 20, drafted=72, steps=18)],  # bonus
    [PoeCall(64, 0, drafted=64, steps=16)],
    [PoeCall(0, 5, drafted=20, steps=5)],
]


def test_time() -> None:
    found = time_stats(timings([4.0, 1.0, 2.0, 3.0, 5.0, 90.0], "abcdef"))
    assert found["raw_ms"] == [4, 1, 2, 3, 5, 90]
    assert found["filtered_ms"] == [4, 1, 2, 3, 5]
    assert (found["median_ms"], found["p20"], found["p80"]) == pytest.approx((3, 1.8, 4.2))
    assert found["n_calls"] == 5 + 2 + 6


@pytest.mark.parametrize("calls", CALLS, ids=["original", "bonus", "all accepted", "none"])
def test_poe(calls: list[PoeCall]) -> None:
    found = poe_stats(timings([250.0] * len(calls), calls))
    output = sum(len(call.tokens) for call in calls)
    resampled = sum(call.resampled for call in calls)
    assert found["resample_rate"] == resampled / output
    assert found["avg_accepted_tokens_per_call"] == (output - resampled) / len(calls)
    accepted, rate = found["avg_accepted_tokens_per_call"], found["resample_rate"]
    assert found["effective_tps"] == 1000 * accepted / 250
    assert found["user_tps"] == pytest.approx(1000 * output / len(calls) / 250)
    if rate < 1:
        assert found["user_tps"] == pytest.approx(found["effective_tps"] / (1 - rate))
        more = found["user_tps"] - found["effective_tps"]
        assert more == pytest.approx(rate * found["effective_tps"] / (1 - rate))
    assert found["n_calls"] == 5 + 2 + len(calls)


def test_poe_example() -> None:
    """By hand: 64 tokens each, 48 and 40 of them accepted, in 250 ms."""
    found = poe_stats(timings([240.0, 260.0], CALLS[0]))
    assert found["output_tokens_per_call"] == 64
    assert found["avg_accepted_tokens_per_call"] == 44
    assert found["resample_rate"] == 0.3125
    assert found["effective_tps"] == pytest.approx(176)
    assert found["user_tps"] == pytest.approx(256)
    assert found["acceptance_rate"] == 88 / 176
    assert found["avg_steps_per_call"] == 22


def test_an_outlier_in_time_still_counts_its_tokens() -> None:
    calls = [PoeCall(4, 0)] * 5 + [PoeCall(0, 4)]
    found = poe_stats(timings([10.0, 10.1, 10.2, 10.1, 10.0, 99.0], calls))
    assert len(found["filtered_ms"]) == 5
    assert found["resample_rate"] == 4 / 24


def test_decode() -> None:
    per_position = [
        position_stats(0, 512, timings([4.0], [0])),
        position_stats(8, 520, timings([6.0], [0])),
    ]
    found = decode_stats(per_position)
    assert (found["mean_ms"], found["tps"]) == (5, 200)
    assert [point["tps"] for point in per_position] == pytest.approx([250, 1000 / 6])
    assert [point["context"] for point in per_position] == [512, 520]


def test_glide() -> None:
    found = glide_stats(timings([500.0, 500.0], [Generated(64, 40, 23), Generated(64, 44, 19)]))
    assert found["user_tps"] == 128
    assert found["acceptance_length"] == 1 + 84 / 42
    only = glide_stats(timings([5.0], [Generated(1, 0, 0)]))
    assert only["acceptance_length"] is None


def test_block() -> None:
    assert block_ms(260.0, 60.0, 20) == 10
    assert block_ms(50.0, 60.0, 20) is None
    assert block_ms(60.0, 60.0, 0) is None
    assert ceiling_tps(4, False, 10) == 400
    assert ceiling_tps(4, True, 10) == 500


def row_of(raw: list[float], tokens: int) -> Row:
    done: Timings[int] = timings(raw, [tokens] * len(raw))
    return {
        "weights": "",
        "ttft": time_stats(timings([40.0], [0])),
        "call": call_stats(done, [tokens]),
    }


def test_lines() -> None:
    """Only real heads have acceptance, tokens per second and all that hangs on them."""
    poe = poe_stats(timings([240.0, 260.0], CALLS[0]))
    ttft = time_stats(timings([30.0], [0]))
    made = {told: of_gamma(poe, ttft, 4, False, told) for told in (True, False)}
    rows: dict[str, Row] = {
        "baseline": row_of([500.0], 64),
        "real": {"weights": "", "ttft": ttft, "per_gamma": {"4": made[True]}},
        "none": {"weights": "", "ttft": ttft, "per_gamma": {"4": made[False]}},
    }
    base, real, none = lines(rows)
    assert (base.user_tps, base.speedup) == (128, 1)
    assert base.token_ms == pytest.approx((500 - 40) / 63)
    assert real.label == "real γ=4"
    assert (real.speedup, real.effective_tps) == pytest.approx((2, 176))
    assert real.token_ms == pytest.approx((250 - 30) / 63)
    assert real.block_ms == none.block_ms == 220 / 22
    assert none.ceiling_tps == pytest.approx(400)
    assert (none.call_ms, none.user_tps, none.effective_tps, none.resample_rate) == (
        250,
        None,
        None,
        None,
    )
    assert "acceptance" not in made[False]
    assert set(made[False]["latency"]) == set(ttft)


def test_lines_without_baseline() -> None:
    (line,) = lines({"hydra_naive": row_of([500.0], 64)})
    assert line.speedup is None


def test_a_row_is_over_the_baseline_around_it() -> None:
    """The machine slows down: 400 and 600 ms around one row, 600 and 1000 around the next."""
    rows: dict[str, Row] = {"baseline": row_of([400.0], 64)}
    for name, call, beside in (("first", 250.0, 600.0), ("second", 400.0, 1000.0)):
        rows[name] = row_of([call], 64)
        rows[name]["beside"] = row_of([beside], 64)["call"]  # type: ignore[typeddict-item]
    base, first, second = lines(rows)
    assert [line.speedup for line in (base, first, second)] == pytest.approx([1, 2, 2])
