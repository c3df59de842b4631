"""What a pair's figures are made of, what fits a card, and how a run goes on."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proposers.glide.checkpoint import check_glide
from recipes.gpu import arm, engine, models
from recipes.gpu.cycle import Cycles
from recipes.gpu.pieces import counts_of
from recipes.gpu.plan import Plan, read

H100, H200 = 79.6, 140.4
PLAN = Plan()
TINY = Plan(device="cpu", shapes="tiny", contexts=(8,), batches=(1, 2), draft_vocab=64, repeats=3)
STEP, PREFILL = 0.02, 5.0


class Clocked:
    """An engine whose prefill takes seconds and whose steps ``STEP``, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drafts: bool, accepted: int = 0) -> None:
        self.now, self.drafts, self.counted, self.per = 0.0, drafts, 0, 1 + accepted
        monkeypatch.setattr(arm.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(engine, "generate", self.generate)
        monkeypatch.setattr(engine, "counters", lambda llm: (self.counted, 0.0))

    def generate(self, llm: Any, prompts: list[list[int]], tokens: int) -> None:
        steps = -(-(tokens - 1) // self.per)
        self.now += PREFILL + STEP * steps
        self.counted += steps * len(prompts) * self.drafts


@pytest.mark.parametrize(("drafts", "accepted"), [(False, 0), (True, 0), (True, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_milliseconds_of_a_step(
    monkeypatch: pytest.MonkeyPatch, drafts: bool, accepted: int, batch: int
) -> None:
    """Prefill drops out; steps are counted where drafts are accepted."""
    llm = Clocked(monkeypatch, drafts, accepted)
    row = arm.measure(llm, TINY, (8, batch), None)
    assert row["ms"] == pytest.approx(1e3 * STEP)
    assert row["steps"] == [TINY.tokens // (1 + accepted)] * 3
    assert row["parts"] == {}


def test_a_trace_is_read_from_where_it_stood(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    before = json.dumps({"requests": 2, "draft_ms": 99.0}) + "\n"
    others = [{"requests": 1, "draft_ms": 50.0}, {"requests": 2, "draft_ms": 9.0}]
    mine = [{"requests": 2, "draft_ms": 1.0 + i} for i in range(20)]
    lines = "".join(json.dumps(cycle) + "\n" for cycle in (*others, *mine))
    trace.write_text(before + lines + '{"requests": 2, "draf')
    cycles = arm.traced(trace, len(before), 2)
    assert len(cycles) == 21 - arm.UNSTEADY
    assert arm.parts(cycles) == {"draft_ms": 12.0}
    assert arm.traced(tmp_path / "none", 0, 1) == []


def test_longer_prompts_begin_with_the_shorter_ones() -> None:
    long, short = arm.prompts(PLAN, 64, 2), arm.prompts(PLAN, 16, 2)
    assert [prompt[:16] for prompt in long] == short
    assert short[0] != short[1]


def test_what_fits_a_card() -> None:
    assert models.weights_gib(PLAN) == pytest.approx(14.96, abs=0.01)  # 8.03 billion in bfloat16
    assert models.cache_gib(PLAN, (8192, 1)) == pytest.approx(1.05 * 8306 * 2**17 / 2**30)
    wanted = {(context, batch) for context in PLAN.contexts for batch in PLAN.batches}
    assert wanted - set(models.fitting(PLAN, H100)) == {(32768, 32)}
    assert wanted - set(models.fitting(PLAN, H200)) == {(32768, 32)}
    assert models.fitting(PLAN, 16.0) == []
    small = models.fitting(PLAN, 24.0)
    assert (512, 1) in small
    assert (8192, 32) not in small


@pytest.mark.parametrize(("card", "engines"), [(H100, 1), (H200, 2), (24.0, 1)])
def test_engines_side_by_side(card: float, engines: int) -> None:
    assert models.side_by_side(PLAN, models.fitting(PLAN, card), card) == engines


@pytest.mark.parametrize("vocabulary", [0, 64])
def test_a_random_draft_for_a_random_target(vocabulary: int, tmp_path: Path) -> None:
    plan = replace(TINY, draft_vocab=vocabulary)
    target, draft = models.make(plan, tmp_path)
    config = check_glide(draft)
    assert json.loads((target / "config.json").read_text())["dtype"] == "float32"
    assert config.draft_vocab_size == (vocabulary or None)
    assert config.max_lag == 1 + len(plan.tree)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[models.Pair]:
    """An arm without an engine: the pairs that it measures."""
    TINY.save(tmp_path, {})
    (tmp_path / "cycle").mkdir()
    asked: list[models.Pair] = []

    def measure(llm: Any, plan: Plan, pair: models.Pair, trace: Path | None) -> dict[str, Any]:
        asked.append(pair)
        if pair == (8, 2) and len(asked) == 2:
            raise RuntimeError("CUDA out of memory")
        return {"context": pair[0], "batch": pair[1], "ms": 1.0}

    monkeypatch.setattr(arm, "measure", measure)
    monkeypatch.setattr(arm, "started", lambda *_: None)
    monkeypatch.setattr(engine, "settings", lambda llm: {"vllm": "0"})
    return asked


def turn(folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> list[Any]:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{seconds}\n"))
    arm.main(folder, "vanilla")
    saved = read(folder / "cycle" / "vanilla.json")
    return saved["rows"] if saved else []


def test_a_pair_that_fails_is_told_and_measured_when_the_run_goes_on(
    measured: list[models.Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles = Cycles(TINY, tmp_path, 16.0, 0.0)
    rows = turn(tmp_path, monkeypatch)
    assert "out of memory" in rows[1]["error"]
    assert (measured, cycles.lacks("vanilla")) == ([(8, 1), (8, 2)], True)
    assert len(turn(tmp_path, monkeypatch)) == 2
    assert (measured[2:], cycles.lacks("vanilla")) == ([(8, 2)], False)
    cycles.collect()
    assert set(read(tmp_path / "cycle.json")["arms"]) == {"vanilla"}


def test_no_pair_is_begun_when_the_time_is_up(
    measured: list[models.Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert turn(tmp_path, monkeypatch, seconds=-1) == []
    assert measured == []


def test_counts_of_a_test_run(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text(
        '<testsuites><testsuite tests="4" failures="1" errors="1" skipped="1">'
        '<testcase name="a"/><testcase name="b"><failure/></testcase>'
        '<testcase name="c"><error/></testcase><testcase name="d"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    assert counts_of(path) == {"passed": 1, "failed": 2, "skipped": 1, "names": ["b", "c"]}
    path.write_text("<testsuites><testsuite")
    assert counts_of(path) is None
