"""Pairing of arms, the control, guards and the time split, on records made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.guards import inspect, loops
from eval.readers import Counters
from eval.readers.vllm import VllmReader
from eval.records import RequestRecord
from eval.runs import ArmRun
from eval.summary import summarise
from eval.timesplit import read_cycles, time_split


def record(arm: str, prompt: str, **more: Any) -> RequestRecord:
    given = {"category": "c", "completion_tokens": 10, "latency_ms": 100.0, "text": "same"}
    return RequestRecord(arm=arm, prompt_id=prompt, **{**given, **more})


def run(name: str, *records: RequestRecord, counters: Counters | None = None) -> ArmRun:
    return ArmRun(name, records=list(records), seconds=1.0, counters=counters)


def test_speedup_pairs_prompts_and_averages_rounds() -> None:
    vanilla = run(
        "vanilla",
        record("vanilla", "a", latency_ms=100.0),
        record("vanilla", "a", latency_ms=300.0, round=1),
        record("vanilla", "b"),
    )
    arm = run("x", record("x", "b", latency_ms=50.0), record("x", "a", latency_ms=100.0))
    speedup = summarise(arm, vanilla).speedup
    assert speedup is not None
    assert speedup.mean == pytest.approx(2.0)
    assert speedup.low == pytest.approx(2.0)


def test_speedup_compares_time_per_token_not_latency() -> None:
    vanilla = run("vanilla", record("vanilla", "a", completion_tokens=20, latency_ms=200.0))
    arm = run("x", record("x", "a", completion_tokens=10, latency_ms=50.0))
    speedup = summarise(arm, vanilla).speedup
    assert speedup is not None
    assert speedup.mean == pytest.approx(2.0)


def test_failed_requests_are_not_paired() -> None:
    vanilla = run("vanilla", record("vanilla", "a", error="broken"), record("vanilla", "b"))
    arm = run("x", record("x", "a", text="other"), record("x", "b"))
    same = summarise(arm, vanilla).identical_to_vanilla
    assert same is not None
    assert (same.count, same.total) == (1, 1)


def test_identical_is_told_within_rounds_and_vanilla_is_its_own_control() -> None:
    vanilla = run("vanilla", record("vanilla", "a"), record("vanilla", "a", round=1, text="new"))
    arm = run("x", record("x", "a"), record("x", "a", round=1, text="new"))
    same, control = (summarise(r, vanilla).identical_to_vanilla for r in (arm, vanilla))
    assert same is not None
    assert (same.count, same.total) == (2, 2)
    assert control is not None
    assert (control.count, control.total) == (0, 1)


def test_counters_alone_give_the_pooled_length() -> None:
    counters = Counters(steps=10, drafted=40, accepted=8, per_position=[6, 2], completion_tokens=21)
    result = summarise(run("x", record("x", "a", completion_tokens=21), counters=counters), None)
    assert result.acceptance_length.pooled == pytest.approx(1.8)
    assert result.acceptance_length.macro is None
    assert result.acceptance_length.effective == pytest.approx(20 / 12)
    assert result.joint_per_position == [0.6, 0.2]


def test_positions_that_do_not_add_up_are_noticed() -> None:
    counters = Counters(steps=4, drafted=8, accepted=5, per_position=[3, 1], completion_tokens=10)
    names = [warned.name for warned in inspect(run("x", record("x", "a"), counters=counters))]
    assert names == ["positions_do_not_add_up"]


def test_a_restarted_server_is_noticed() -> None:
    counters = Counters(completion_tokens=3) - Counters(completion_tokens=9)
    names = [warned.name for warned in inspect(run("x", record("x", "a"), counters=counters))]
    assert names == ["counters_went_back"]


def test_sources_that_disagree_are_noticed() -> None:
    told = record("x", "a", completion_tokens=9, steps=4, drafted=8, accepted=4, per_position=[4])
    close = Counters(100, 200, 104, [104], completion_tokens=9)
    far = Counters(100, 200, 130, [130], completion_tokens=9)
    fell = far - Counters(completion_tokens=99)
    found = [inspect(run("x", told, counters=c)) for c in (close, far, fell)]
    names = [[warned.name for warned in each] for each in found]
    assert names == [
        ["counters_differ"],
        ["counters_differ", "sources_differ"],
        ["counters_went_back"],
    ]
    assert found[1][1].message == (
        "acceptance lengths differ by 15.0%, more than 5%: response 2.000, server 2.300"
    )


def test_missing_counters_are_noticed() -> None:
    assert [w.name for w in inspect(run("x", record("x", "a")))] == ["no_counters"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the same words again. " * 12, True),
        ("ab" * 100, True),
        ("ha ha ha ha", False),
        ("Every line of this answer differs from the one before it, as it should. " * 2, False),
    ],
)
def test_loops(text: str, expected: bool) -> None:
    assert loops(text) is expected


def test_metrics_of_another_engine_are_no_counters() -> None:
    assert VllmReader().counters("# TYPE other counter\nother_total 3\n") is None


def test_time_split(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    early = {"event": "cycle", "verify_ms": 99, "draft_ms": 99, "engine_ms": 99}
    cycle = {"event": "cycle", "verify_ms": 6, "draft_ms": 3, "engine_ms": 1, "cycle_ms": 10}
    head = json.dumps(early) + "\n"
    path.write_text(head + json.dumps(cycle) + "\n" + '{"event": "start"}\n{"event": "cy')
    split = time_split(read_cycles(path, len(head)))
    assert split is not None
    assert split["cycles"] == 1
    assert split["share"] == {"verify": 0.6, "draft": 0.3, "engine": 0.1}
    assert time_split(read_cycles(tmp_path / "none")) is None
