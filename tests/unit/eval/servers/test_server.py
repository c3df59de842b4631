"""Servers of our own: started, measured, and gone afterwards with all that they started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from eval import speed_bench
from eval.cli.parsing import parse
from eval.records.provenance import of_bench
from eval.servers import server
from eval.servers.arms import Arm
from eval.servers.engines import vllm

ROOT = Path(__file__).parents[4]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target folder, and a ``vllm`` on PATH that runs the dummy."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "config.json").write_text("{}")
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.unit.eval.dummy_server "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("DUMMY_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(vllm, "executable", lambda: str(program))
    return tmp_path


def pids(place: Path) -> list[int]:
    path = place / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def line(place: Path, *more: str) -> list[str]:
    return [
        "--model",
        f"{place}/target",
        "--output-dir",
        f"{place}/out",
        "--output-len",
        "8",
        *more,
    ]


def wait_for(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + 40
    while not what():
        assert time.monotonic() < limit, "waited for too long"
        time.sleep(0.05)


def test_arms_alternate_and_all_processes_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_MODE", "serve")
    more = ["--arms", "ngram,vanilla", "--num-prompts", "2", "--rounds", "2"]
    assert speed_bench.main(line(place, *more)) == 0
    results = json.loads((place / "out" / "results.json").read_text())
    vanilla, ngram = results["arms"]
    assert (vanilla["name"], ngram["name"]) == ("vanilla", "ngram")
    for arm in (vanilla, ngram):
        assert arm["lossless"]["identical"] == arm["lossless"]["compared"] > 0
    assert ngram["speedup"]["mean"] > 0
    assert ngram["speedup"]["low"] is None  # of two prompts
    records = (place / "out" / "requests.jsonl").read_text().splitlines()
    order = [(json.loads(r)["round"], json.loads(r)["arm"]) for r in records[::2]]
    assert order == [(0, "vanilla"), (0, "ngram"), (1, "vanilla"), (1, "ngram")]
    assert (
        "--per-request-spec-decode-metrics detailed"
        in results["provenance"]["server_commands"]["ngram"]
    )
    logs = {path.name for path in (place / "out" / "logs").iterdir()}
    assert logs == {"vanilla.log", "vanilla.2.log", "ngram.log", "ngram.2.log"}
    assert len(pids(place)) == 12
    assert not any(map(running, pids(place)))


def test_a_server_that_dies_early(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUMMY_MODE", "die")
    assert speed_bench.main(line(place)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "speed_bench: arm vanilla: server died with exit code 3; read"
        f" {place}/out/logs/vanilla.log; last lines: loading"
        " | ValueError: the draft is for another target"
    )


def test_a_server_that_dies_while_measured_leaves_a_report(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUMMY_MODE", "die_later")
    assert speed_bench.main(line(place, "--num-prompts", "30")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "speed_bench: arm vanilla: server died with exit code 1; read"
        f" {place}/out/logs/vanilla.log, then run the same command with --resume; last lines:"
        " EngineDeadError: core gone"
    )
    results = json.loads((place / "out" / "results.json").read_text())
    assert not results["complete"]
    assert results["arms"][0]["num_requests"] < 30
    assert not any(map(running, pids(place)))


def test_a_server_whose_engine_dies_while_measured(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUMMY_MODE", "core_dies")
    monkeypatch.setattr(server, "LEAVING_SECONDS", 0.1)
    assert speed_bench.main(line(place, "--num-prompts", "30")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "speed_bench: arm vanilla: server no longer serves (/health: HTTP 503); read"
        f" {place}/out/logs/vanilla.log, then run the same command with --resume; last lines: "
    )
    assert not any(map(running, pids(place)))


def test_a_server_that_never_gets_ready(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUMMY_MODE", "hang")
    assert speed_bench.main(line(place, "--startup-timeout", "1")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "--startup-timeout 1: the server was not ready in time" in last
    assert not any(map(running, pids(place)))


def start(place: Path, mode: str) -> subprocess.Popen[str]:
    """The command in a process of its own, which signals can be sent to."""
    program = (
        "import sys; from eval import speed_bench; from eval.servers import server;"
        "from eval.servers.engines import vllm;"
        f"vllm.executable = lambda: {str(place / 'bin' / 'vllm')!r};"
        "server.stop.__defaults__ = (0.3,); server.POLL_SECONDS = 0.1; sys.exit(speed_bench.main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *line(place)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DUMMY_MODE": mode},
    )


def test_a_signal_waits_for_the_end_of_a_stop_and_then_counts() -> None:
    done = []

    @server.held_signals()
    def stopping() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("stopped")

    with pytest.raises(KeyboardInterrupt):
        stopping()
    assert done == ["stopped"]


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_signals_stop_the_whole_tree(place: Path, kind: signal.Signals, code: int) -> None:
    bench = start(place, "hang")
    wait_for(lambda: len(pids(place)) == 3)
    assert all(map(running, pids(place)))
    bench.send_signal(kind)
    _, shown = bench.communicate(timeout=30)
    assert bench.returncode == code, shown
    assert "servers are down" in shown
    assert "Traceback" not in shown
    assert not any(map(running, pids(place)))


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_measured_before_a_signal_is_reported(
    place: Path, kind: signal.Signals, code: int
) -> None:
    bench = start(place, "slow")
    records = place / "out" / "requests.jsonl"
    wait_for(lambda: records.exists() and records.read_text().count("\n") >= 2)
    bench.send_signal(kind)
    _, shown = bench.communicate(timeout=30)
    assert bench.returncode == code, shown
    assert "Traceback" not in shown
    results = json.loads((place / "out" / "results.json").read_text())
    assert not results["complete"]
    assert 2 <= results["arms"][0]["num_requests"] < 66
    assert not any(map(running, pids(place)))


def test_a_free_port_is_none_that_the_system_gives_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SGLang's scheduler, which listens on many, was seen to be given its own server's."""
    found = {server.choose_port(None) for _ in range(20)}
    assert len(found) > 1
    assert all(port in server.PORTS for port in found)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(server, "PORTS", [taken] * 20)
        assert server.choose_port(None) != taken


def test_the_servers_command_line(place: Path) -> None:
    options = parse(line(place, "--dtype", "float32", "--server-args", "--enforce-eager --x 'a b'"))
    made = server.command(options, Arm("ngram", {"method": "ngram"}), 5)
    assert made[1:7] == ["serve", f"{place}/target", "--host", "127.0.0.1", "--port", "5"]
    assert made[7:9] == ["--dtype", "float32"]
    assert made[9:11] == ["--speculative-config", '{"method": "ngram"}']
    assert made[-3:] == ["--enforce-eager", "--x", "a b"]
    vanilla = server.command(options, Arm("vanilla"), 5)
    assert not any("spec" in word for word in vanilla)


def test_the_servers_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    options = parse(line(place))
    env = server.environment(options, trace=place / "t.jsonl")
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert env["LONGSPEC_TRACE"] == str(place / "t.jsonl")
    told = of_bench(options, {}, {**env, "VLLM_API_KEY": "x", "HOME": "y"})["environment"]
    assert told["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert not {"VLLM_API_KEY", "HOME"} & set(told)
