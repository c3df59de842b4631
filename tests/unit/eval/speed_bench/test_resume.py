"""kill -9 at any moment and ``--resume``: every request is there once, and none is asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from eval import speed_bench
from eval.records.requests import RequestRecord

from ..fake import Script, serving

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine conversations of two turns."""
    rows = [{"question_id": i, "turns": [f"Hello {i}.", f"And {i}?"]} for i in range(9)]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def line(url: str, data: Path, folder: Path, *more: str) -> list[str]:
    given = ["--base-url", url, "--dataset", str(data), "--output-dir", str(folder)]
    return [*given, "--concurrency", "3", *more]


def lines(folder: Path) -> int:
    path = folder / "requests.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def killed_after(count: int, command: list[str], folder: Path) -> int:
    """Start the command and kill it once ``count`` more records are there; its exit code."""
    before = lines(folder)
    program = [sys.executable, "-m", "eval.speed_bench", *command]
    process = subprocess.Popen(program, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if lines(folder) >= before + count:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    process.communicate()
    return process.returncode


def records(folder: Path) -> list[RequestRecord]:
    found = (folder / "requests.jsonl").read_text().splitlines()
    return [RequestRecord.model_validate_json(each) for each in found]


def asked(script: Script) -> Counter[str]:
    return Counter(
        json.dumps(sent["messages"]) for sent in script.seen if len(sent["messages"]) > 0
    )


def test_a_killed_client_goes_on(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with serving(script := Script(delay=0.03)) as url:
        command = line(url, data, folder, "--resume")
        codes = [killed_after(count, command, folder) for count in (1, 7)]
        assert codes == [-signal.SIGKILL] * 2
        kept = {record.key: record.text_sha256 for record in records(folder)}
        assert 8 <= len(kept) < 18
        assert speed_bench.main(command) == 0
    found = records(folder)
    assert sorted(record.key for record in found) == [(str(i), t) for i in range(9) for t in (0, 1)]
    assert {r.key: r.text_sha256 for r in found}.items() >= kept.items()
    results = json.loads((folder / "results.json").read_text())
    assert (results["complete"], results["arms"][0]["num_requests"]) == (True, 18)
    assert "window_not_closed" in [warned["name"] for warned in results["warnings"]]
    assert max(count for key, count in asked(script).items() if "Hello" in key) <= 3


def test_a_finished_run_asks_nothing(data: Path, tmp_path: Path) -> None:
    with serving(script := Script()) as url:
        assert speed_bench.main(line(url, data, tmp_path / "run")) == 0
        count = len(script.seen)
        assert speed_bench.main(line(url, data, tmp_path / "run", "--resume")) == 0
        assert len(script.seen) == count
    assert len(records(tmp_path / "run")) == 18


def test_failed_requests_are_asked_again(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with serving(script := Script(fail={"Hello 4."})) as url:
        assert speed_bench.main(line(url, data, folder)) == 0
        assert sum(bool(record.error) for record in records(folder)) == 1
        script.fail.clear()
        assert speed_bench.main(line(url, data, folder, "--resume")) == 0
    assert sorted(record.key for record in records(folder)) == [
        (str(i), turn) for i in range(9) for turn in (0, 1)
    ]
    assert not any(record.error for record in records(folder))
    assert len((folder / "failed.jsonl").read_text().splitlines()) == 1
