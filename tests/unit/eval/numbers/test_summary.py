"""Pairing of arms, guards and the time split, on records made by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from eval.numbers.choices import choices, read_choices
from eval.numbers.guards import inspect, loops
from eval.numbers.runs import ArmRun
from eval.numbers.summary import summarise
from eval.numbers.timesplit import read_cycles, time_split, tree_use
from eval.records.counters import Counters
from eval.records.requests import RequestRecord
from eval.records.windows import WindowRecord
from eval.servers.readers.vllm import VllmReader


def record(arm: str, prompt: str, **more: Any) -> RequestRecord:
    given = {"category": "c", "completion_tokens": 10, "latency_ms": 100.0, "text": "same"}
    return RequestRecord(arm=arm, prompt_id=prompt, **{**given, **more})


def run(name: str, *records: RequestRecord, counters: Counters | None = None) -> ArmRun:
    made = ArmRun(name, records=list(records))
    if counters is not None:
        spent = asdict(counters)
        place = {"window": "", "arm": name, "round": 0, "concurrency": 1, "temperature": 0.0}
        made.windows = [WindowRecord(**place, started=0, ended=1, counters=spent)]
    return made


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


def test_speedup_compares_time_per_token_not_latency() -> None:
    vanilla = run("vanilla", record("vanilla", "a", completion_tokens=20, latency_ms=200.0))
    arm = run("x", record("x", "a", completion_tokens=10, latency_ms=50.0))
    speedup = summarise(arm, vanilla).speedup
    assert speedup is not None
    assert speedup.mean == pytest.approx(2.0)


def test_turns_of_a_prompt_count_as_one() -> None:
    """Three turns that double and one prompt that is even: the mean is of two, not of four."""
    turns = [record("x", "a", turn=turn, latency_ms=50.0) for turn in range(3)]
    base = [record("vanilla", "a", turn=turn) for turn in range(3)]
    vanilla = run("vanilla", *base, record("vanilla", "b"))
    speedup = summarise(run("x", *turns, record("x", "b")), vanilla).speedup
    assert speedup is not None
    assert speedup.mean == pytest.approx(2**0.5)


def test_failed_requests_are_not_paired() -> None:
    vanilla = run("vanilla", record("vanilla", "a", error="broken"), record("vanilla", "b"))
    arm = run("x", record("x", "a", latency_ms=1.0), record("x", "b", latency_ms=50.0))
    speedup = summarise(arm, vanilla).speedup
    assert speedup is not None
    assert speedup.mean == pytest.approx(2.0)


def test_seconds_are_those_with_a_request_in_flight() -> None:
    """Two that overlap for a second, and one after a pause of a resumed run."""
    times = [(0.0, 2000.0), (1.0, 2000.0), (100.0, 1000.0)]
    made = [record("x", str(i), started=s, latency_ms=ms) for i, (s, ms) in enumerate(times)]
    result = summarise(run("x", *made), None)
    assert result.seconds == pytest.approx(4.0)
    assert result.throughput_tok_s == pytest.approx(30 / 4)
    assert result.requests_per_s == pytest.approx(3 / 4)


def test_goodput() -> None:
    made = [
        record("x", "a", started=0.0, ttft_ms=10.0, tpot_ms=5.0, latency_ms=1000.0),
        record("x", "b", started=1.0, ttft_ms=90.0, tpot_ms=5.0, latency_ms=1000.0),
        record("x", "c", started=2.0, ttft_ms=10.0, tpot_ms=None, latency_ms=2000.0),
    ]
    found = summarise(run("x", *made), None, {"ttft": 50, "tpot": 5}).goodput
    assert found is not None
    assert (found.count, found.share, found.requests_per_s) == (2, 2 / 3, 0.5)
    assert summarise(run("x", *made), None).goodput is None


def test_acceptance_by_length() -> None:
    """A prompt of 100 tokens; steps begin after 1, 1 + 3 and 4 + 31 generated tokens."""
    told = {"step_accepted": [2, 30, 1], "steps": 3, "accepted": 33, "drafted": 99}
    made = record("x", "a", prompt_tokens=100, completion_tokens=37, **told)
    result = summarise(run("x", made), None)
    generated = [(b.low, b.high, b.steps, b.acceptance_length) for b in result.by_generated]
    assert generated == [(0, 32, 2, 17.0), (32, 64, 1, 2.0)]
    context = [(b.low, b.high, b.steps, b.acceptance_length) for b in result.by_context]
    assert context == [(0, 128, 2, 17.0), (128, 256, 1, 2.0)]


def test_undrafted_steps_are_placed_by_the_stream() -> None:
    """Nine tokens: the prefill's, a step of three, five undrafted ones."""
    told = {"step_accepted": [2], "steps": 1, "accepted": 2, "drafted": 3}
    known = [1, 1, 1, 3, 1, 1, 1]
    for parts, steps in ((known, 6), ([1, 3, 5], 0), (None, 0)):
        made = record("x", "a", completion_tokens=9, chunk_tokens=parts, **told)
        found = summarise(run("x", made), None).by_generated
        assert sum(each.steps for each in found) == steps
        assert [each.acceptance_length for each in found] == [8 / 6] * bool(steps)


def test_break_even_from_what_clients_see() -> None:
    """Vanilla: 9 steps in 90 ms. The arm: 3 steps in 60 ms for the same tokens."""
    vanilla = run("vanilla", record("vanilla", "a", ttft_ms=10.0, tpot_ms=10.0))
    vanilla.speculates = False
    told = {"steps": 3, "accepted": 6, "drafted": 9}
    arm = run("x", record("x", "a", ttft_ms=10.0, tpot_ms=60 / 9, latency_ms=70.0, **told))
    found = summarise(arm, vanilla).break_even
    assert found is not None
    assert (found.vanilla_step_ms, found.step_ms, found.step_time_ratio) == (10.0, 20.0, 2.0)
    assert (found.acceptance_length, found.predicted) == (3.0, 1.5)
    assert found.measured == pytest.approx(1.5)
    assert summarise(vanilla, vanilla).break_even is None


def test_categories() -> None:
    told = {"steps": 2, "accepted": 3, "drafted": 8, "per_position": [2, 1]}
    made = [record("x", "a", category="qa", **told), record("x", "b", category="math")]
    found = summarise(run("x", *made), None).categories
    assert list(found) == ["math", "qa"]
    assert found["qa"].acceptance_length.pooled == 2.5
    assert (found["qa"].acceptance_rate, found["qa"].joint_per_position) == (0.375, [1.0, 0.5])
    assert (found["math"].num_requests, found["math"].acceptance_length.pooled) == (1, None)


def test_counters_alone_give_the_pooled_length() -> None:
    counters = Counters(steps=10, drafted=40, accepted=8, per_position=[6, 2], completion_tokens=21)
    result = summarise(run("x", record("x", "a", completion_tokens=21), counters=counters), None)
    assert result.acceptance_length.pooled == pytest.approx(1.8)
    assert result.acceptance_length.macro is None
    assert result.acceptance_length.effective == pytest.approx(20 / 12)
    assert result.joint_per_position == [0.6, 0.2]


def test_counters_of_tokens_and_steps_alone_give_the_rate() -> None:
    """SGLang's: 2 answers of 11 tokens in 10 steps of 3 nodes: 22 - 2 - 10 = 10 accepted."""
    records = [record("x", str(i), completion_tokens=11) for i in range(2)]
    made = run("x", *records, counters=Counters(10, None, None, completion_tokens=22))
    made.nodes, made.depth = 3, 2
    found = summarise(made, None)
    assert found.acceptance_rate == pytest.approx(10 / 30)
    assert found.acceptance_rate_path == pytest.approx(10 / 20)
    made.nodes = None
    assert summarise(made, None).acceptance_rate is None


def test_positions_that_do_not_add_up_are_noticed() -> None:
    counters = Counters(steps=4, drafted=8, accepted=5, per_position=[3, 1], completion_tokens=10)
    names = [warned.name for warned in inspect(run("x", record("x", "a"), counters=counters))]
    assert names == ["positions_do_not_add_up"]


def test_a_restarted_server_is_noticed() -> None:
    counters = Counters(completion_tokens=3) - Counters(completion_tokens=9)
    names = [warned.name for warned in inspect(run("x", record("x", "a"), counters=counters))]
    assert names == ["counters_went_back"]


def test_a_window_whose_server_died_is_told_apart() -> None:
    """One window closed and adds up; the other died with its server."""
    told = Counters(4, 8, 4, [4], completion_tokens=10)
    more = {"steps": 4, "drafted": 8, "accepted": 4, "per_position": [4]}
    made = run(
        "x", record("x", "a", **more), record("x", "b", window="dead", **more), counters=told
    )
    dead = made.windows[0].model_copy(update={"window": "dead", "counters": None, "failed": 1})
    made.windows.append(dead)
    assert made.counters == told
    found = {warned.name: warned.message for warned in inspect(made)}
    assert list(found) == ["window_not_closed"]
    assert found["window_not_closed"].startswith("1 of 2 requests")


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


CYCLE = {"event": "cycle", "time": 5.0, "verify_ms": 6, "draft_ms": 3, "engine_ms": 1}
TREES = {"cycle_ms": 10, "trees": 2, "nodes": 12, "depth": 7, "accepted": 3}


def test_time_split_and_tree_use(tmp_path: Path) -> None:
    """Cycles of the warm-up, before the span, and torn lines are left out."""
    path = tmp_path / "trace.jsonl"
    lines = [json.dumps({**CYCLE, **TREES, "time": t}) for t in (1.0, 5.0, 6.0)]
    path.write_text("\n".join([*lines, '{"event": "start"}', '{"event": "cy']))
    cycles = read_cycles(path, [(4.0, 5.5), (5.2, 7.0)])
    split, use = time_split(cycles), tree_use(cycles)
    assert split is not None
    assert (split.cycles, split.cycle_ms) == (2, 10.0)
    assert split.share == {"verify": 0.6, "draft": 0.3, "engine": 0.1}
    assert use is not None
    assert (use.nodes, use.depth, use.accepted, use.used) == (6.0, 3.5, 1.5, 0.25)
    assert time_split(read_cycles(tmp_path / "none", [(0.0, 9.0)])) is None
    assert tree_use([]) is None


def test_choices_are_of_steps_that_followed_the_load(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    step = {"event": "cycle", "time": 5.0, "requests": 4}
    lines = [
        {**step, "effort": "whole", "least": 0.5, "nodes": 10},
        {**step, "effort": "cheap", "least": 0.7, "nodes": 2},
        {**step, "event": "plain", "effort": "none", "least": 1.0},
        {**step, "event": "plain", "effort": "cheap", "least": 0.6},
        {**step, "effort": "whole", "least": 0.1, "nodes": 99, "time": 1.0},
        step,
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = choices(read_choices(path, [(4.0, 6.0)]))
    assert found is not None
    assert found.share == {"whole": 0.25, "cheap": 0.5, "none": 0.25}
    assert (found.steps, found.nodes, found.least) == (4, 1.0, 0.6)
    assert len(read_cycles(path, [(4.0, 6.0)])) == 3
    assert choices([]) is None
