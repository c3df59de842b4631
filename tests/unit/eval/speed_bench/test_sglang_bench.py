"""The command against a scripted SGLang: every source's numbers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval import speed_bench
from eval.records.requests import RequestRecord

from ..fake import serving
from ..fake_sglang import SglangScript


def bench(script: SglangScript, folder: Path, *more: str) -> dict[str, Any]:
    with serving(script) as url:
        line = ["--engine", "sglang", "--base-url", url, "--output-dir", str(folder)]
        assert speed_bench.main([*line, "--num-prompts", "3", "--output-len", "64", *more]) == 0
    return json.loads((folder / "results.json").read_text())


def warned(results: dict[str, Any]) -> list[str]:
    return [warning["name"] for warning in results["warnings"]]


@pytest.fixture
def script(tmp_path: Path) -> SglangScript:
    """Answers of five tokens: one of the prefill and two steps, each with one of 8 accepted."""
    (tmp_path / "metrics").mkdir()
    return SglangScript(histogram=[0, 2], nodes_per_step=8, export=tmp_path / "metrics")


def test_responses_lead(script: SglangScript, tmp_path: Path) -> None:
    arm = bench(script, tmp_path)["arms"][0]
    assert (arm["steps"], arm["drafted"], arm["accepted"]) == (6, 48, 6)
    assert arm["acceptance_length"] == {"pooled": 2.0, "macro": 2.0, "effective": 2.0}
    assert (arm["acceptance_rate"], arm["joint_per_position"]) == (0.125, [1.0])
    assert arm["acceptance_length_per_source"] == {"response": 2.0, "server": 2.5}
    assert all(sent["return_spec_tokens_details"] for sent in script.seen)


def test_the_record_is_that_of_every_engine(script: SglangScript, tmp_path: Path) -> None:
    bench(script, tmp_path)
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    record = RequestRecord.model_validate_json(lines[0])
    assert (record.steps, record.drafted, record.accepted) == (2, 16, 2)
    assert (record.per_position, record.completion_tokens) == ([2], 5)
    assert record.request_id == "chat-3"  # two warm-ups came before


def test_counters_lead(script: SglangScript, tmp_path: Path) -> None:
    results = bench(script, tmp_path, "--metrics-source", "server")
    arm = results["arms"][0]
    assert arm["acceptance_length"] == {"pooled": 2.5, "macro": None, "effective": None}
    assert (arm["steps"], arm["drafted"], arm["accepted"]) == (6, None, None)
    assert (arm["acceptance_rate"], arm["joint_per_position"]) == (None, [])
    assert warned(results) == ["sources_differ"]


@pytest.mark.parametrize("older", [False, True])
def test_files_lead(script: SglangScript, tmp_path: Path, older: bool) -> None:
    script.older = older
    line = ["--metrics-source", "file", "--metrics-file-dir", f"{tmp_path}/metrics"]
    arm = bench(script, tmp_path, *line)["arms"][0]
    assert len(list((tmp_path / "metrics").iterdir())) > 1
    assert arm["acceptance_length"] == {"pooled": 2.0, "macro": 2.0, "effective": 2.0}
    assert (arm["steps"], arm["drafted"], arm["accepted"]) == (6, 48, 6)
    assert len(arm["categories"]) == 3
    assert arm["acceptance_length_per_source"] == {"response": 2.0, "server": 2.5, "file": 2.0}


def test_requests_that_are_missing_in_the_files(script: SglangScript, tmp_path: Path) -> None:
    script.forget = 3  # the warm-ups and the first prompt
    line = ["--metrics-source", "file", "--metrics-file-dir", f"{tmp_path}/metrics"]
    results = bench(script, tmp_path, *line)
    assert "file_incomplete" in warned(results)
    assert results["warnings"][0]["message"].startswith("1 of 3 requests are not in")
    assert results["arms"][0]["steps"] == 4


def test_sources_are_compared_in_terminal_and_report(
    script: SglangScript, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = bench(script, tmp_path)
    assert [w["message"] for w in results["warnings"]] == [
        "acceptance lengths differ by 25.0%, more than 5%: response 2.000, server 2.500; the"
        " server's counts the first token of an answer and not what was cut at its end"
    ]
    shown = capsys.readouterr().out
    assert "AL by source" in shown
    assert "25.0%" in shown
    report = (tmp_path / "report.md").read_text()
    assert "## Acceptance length by source" in report
    assert "| apart by | 25.0%" in report


def test_sources_that_agree_are_shown_without_a_warning(
    script: SglangScript, tmp_path: Path
) -> None:
    script.words = [" word"] * 41
    script.histogram = [0, 20]
    results = bench(script, tmp_path)
    lengths = results["arms"][0]["acceptance_length_per_source"]
    assert lengths == {"response": 2.0, "server": 2.05}
    assert warned(results) == ["repetition_loop"]


def test_another_client_is_noticed(script: SglangScript, tmp_path: Path) -> None:
    script.miscount = 1
    assert "counters_differ" in warned(bench(script, tmp_path))


def test_a_plain_server_has_no_acceptance(script: SglangScript, tmp_path: Path) -> None:
    script.histogram = None
    results = bench(script, tmp_path)
    arm = results["arms"][0]
    assert arm["acceptance_length"] == {"pooled": None, "macro": None, "effective": 1.0}
    assert arm["acceptance_length_per_source"] == {}
    assert results["warnings"] == []
