"""The command against a scripted server: every number of the result is known."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eval import datasets, speed_bench
from eval.records.requests import RequestRecord

from ..fake import Script, serving


def bench(script: Script, folder: Path, *more: str, code: int = 0) -> dict[str, Any]:
    with serving(script) as url:
        line = ["--base-url", url, "--output-dir", str(folder), "--output-len", "64", *more]
        assert speed_bench.main(line) == code
    return json.loads((folder / "results.json").read_text())


def warned(results: dict[str, Any]) -> list[str]:
    return [warning["name"] for warning in results["warnings"]]


def records(folder: Path) -> list[RequestRecord]:
    lines = (folder / "requests.jsonl").read_text().splitlines()
    return [RequestRecord.model_validate_json(line) for line in lines]


def test_numbers_files_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(histogram=[1, 0, 1, 0, 0], nodes_per_step=4)
    results = bench(script, tmp_path, "--num-prompts", "11", "--concurrency", "3")
    arm = results["arms"][0]
    assert (results["schema_version"], results["complete"]) == (2, True)
    assert arm["name"] == "server"
    assert (arm["num_requests"], arm["completion_tokens"]) == (11, 55)
    assert (arm["steps"], arm["drafted"], arm["accepted"]) == (22, 88, 22)
    assert arm["acceptance_length"] == {"pooled": 2.0, "macro": 2.0, "effective": 2.0}
    assert arm["acceptance_rate"] == 0.25
    assert arm["joint_per_position"] == [0.5, 0.5]
    assert arm["conditional_per_position"] == [0.5, 1.0]
    assert len(arm["categories"]) == 11
    assert arm["speedup"] is None
    assert arm["lossless"] is None
    assert results["warnings"] == []
    assert arm["throughput_tok_s"] == pytest.approx(55 / arm["seconds"])
    assert pd.read_csv(tmp_path / "results.csv")["acceptance_length.pooled"][0] == 2.0
    assert "| AL pooled" in (tmp_path / "report.md").read_text()
    assert "0.50 0.50" in capsys.readouterr().out


def test_records(tmp_path: Path) -> None:
    bench(Script(), tmp_path, "--num-prompts", "2")
    first, second = records(tmp_path)
    assert {first.category, second.category} == {"coding", "humanities"}
    assert first.text == "one two three four five"
    assert len(first.text_sha256) == 64
    assert first.per_position == [1, 1]
    assert first.latency_ms
    assert first.ttft_ms
    assert first.tpot_ms is not None


def test_requests_carry_the_options(tmp_path: Path) -> None:
    script = Script()
    bench(script, tmp_path, "--num-prompts", "1", "--temperature", "0.5", "--seed", "9")
    sent = script.seen[-1]
    assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0.5, 9, 64)
    assert sent["stream_options"] == {"include_usage": True}


def test_each_pass_over_the_prompts_names_a_salt_of_its_own(tmp_path: Path) -> None:
    script = Script()
    line = ["--num-prompts", "1", "--rounds", "2", "--concurrency", "1,2", "--cache-salt", "me"]
    bench(script, tmp_path, *line)
    named = [sent.get("cache_salt") for sent in script.seen]
    assert [salt for salt in named if salt] == ["me-0-1-0", "me-0-2-0", "me-1-1-0", "me-1-2-0"]
    assert named.count(None) > 0  # warming up


def test_counters_stand_in_where_requests_do_not_tell(tmp_path: Path) -> None:
    script = Script(histogram=None)
    script.totals = {"vllm:spec_decode_num_drafts_total": 50}
    arm = bench(script, tmp_path, "--num-prompts", "2")["arms"][0]
    assert arm["acceptance_length"] == {"pooled": None, "macro": None, "effective": 1.0}


def test_counters_lead_where_the_user_says_so(tmp_path: Path) -> None:
    line = ["--num-prompts", "2", "--metrics-source", "server"]
    results = bench(Script(histogram=[1, 0, 1]), tmp_path, *line)
    arm = results["arms"][0]
    assert arm["acceptance_length"] == {"pooled": 2.0, "macro": None, "effective": 2.0}
    assert (arm["steps"], arm["drafted"], arm["accepted"]) == (4, 12, 4)
    assert arm["joint_per_position"] == [0.5, 0.5]
    assert arm["categories"]["coding"]["acceptance_length"]["pooled"] is None
    assert arm["acceptance_length_per_source"] == {"response": 2.0, "server": 2.0}
    assert results["warnings"] == []


def test_another_client_is_noticed(tmp_path: Path) -> None:
    results = bench(Script(strangers=3), tmp_path, "--num-prompts", "2")
    assert warned(results) == ["counters_differ"]


def test_failed_requests_are_counted_and_not_repeated(tmp_path: Path) -> None:
    victim = datasets.spread(datasets.load("builtin"), 3)[1].turns[0]
    script = Script(fail={victim})
    results = bench(script, tmp_path, "--num-prompts", "3")
    assert (results["arms"][0]["num_requests"], results["arms"][0]["num_errors"]) == (3, 1)
    assert warned(results) == ["request_errors"]
    assert "scripted failure" in (records(tmp_path)[1].error or "")
    assert sum(sent["messages"][-1]["content"] == victim for sent in script.seen) == 1


def test_when_every_request_fails_the_exit_code_says_so(tmp_path: Path) -> None:
    prompts = {p.turns[0] for p in datasets.load("builtin")}
    results = bench(Script(fail=prompts), tmp_path, "--num-prompts", "2", code=1)
    assert results["arms"][0]["throughput_tok_s"] in (None, 0.0)


def test_loops_and_cut_answers_are_noticed(tmp_path: Path) -> None:
    script = Script(words=[" and so on and on"] * 20, finish_reason="length", histogram=[20])
    assert warned(bench(script, tmp_path, "--num-prompts", "2")) == ["truncated", "repetition_loop"]


def test_long_prompts_are_reported_not_dropped(tmp_path: Path) -> None:
    results = bench(Script(max_model_len=250), tmp_path)
    assert warned(results) == ["prompt_too_long"]
    assert "summarization-1" in results["warnings"][0]["message"]
    assert 50 < results["arms"][0]["num_requests"] < 108  # turns


def test_categories_narrow_the_prompts(tmp_path: Path) -> None:
    arm = bench(Script(), tmp_path, "--categories", "rag,qa", "--num-prompts", "3")["arms"][0]
    assert set(arm["categories"]) == {"qa", "rag"}


def test_a_full_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("eval.records.jsonlog.JsonLog.append", full)
    results = bench(Script(), tmp_path, "--num-prompts", "2", code=2)
    assert not results["complete"]
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"speed_bench: --output-dir {tmp_path}: cannot be written (No space left on device);"
        " give another folder"
    )


def test_progress_tells_of_tokens_per_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(Script(), tmp_path, "--num-prompts", "1")
    assert re.search(r"server: 1/1 requests, [\d.]+ tok/s  coding-1\n", capsys.readouterr().err)


def test_turns_are_sent_with_the_answers_before_them(tmp_path: Path) -> None:
    data = tmp_path / "two.jsonl"
    data.write_text('{"question_id": 1, "category": "c", "turns": ["Hello.", "And now?"]}\n')
    script = Script()
    results = bench(script, tmp_path, "--dataset", str(data))
    assert results["arms"][0]["num_requests"] == 2
    roles = [message["role"] for message in script.seen[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert [record.turn for record in records(tmp_path)] == [0, 1]


def test_arms_take_turns(tmp_path: Path) -> None:
    line = ["--num-prompts", "5", "--turn", "2", "--output-len", "64", "--rounds", "2"]
    with serving(Script(histogram=None)) as base, serving(Script()) as url:
        arms = ["--arms", f"vanilla={base},x={url}", "--output-dir", str(tmp_path)]
        assert speed_bench.main([*line, *arms]) == 0
    whole = records(tmp_path)
    asked = [(r.round, r.arm, r.prompt_id) for r in whole]
    firsts = [prompt for _, _, prompt in asked[:2]]
    assert [arm for _, arm, _ in asked[:10]] == [
        *(["vanilla"] * 2 + ["x"] * 2) * 2,
        *("vanilla", "x"),
    ]
    assert [prompt for _, _, prompt in asked[2:4]] == firsts
    assert [round_ for round_, _, _ in asked] == [0] * 10 + [1] * 10
    assert len(set(asked)) == 20
    control = (tmp_path / "control.jsonl").read_text().splitlines()
    assert len(control) == 5
    arm = json.loads((tmp_path / "results.json").read_text())["arms"][1]
    assert (arm["num_requests"], arm["acceptance_length_per_source"]["server"]) == (10, 3.0)
