"""What each arm adds to the command line and the environment of its engine's server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from eval import speed_bench
from eval.cli.options import Options
from eval.cli.parsing import parse
from eval.servers import server
from eval.servers.arms import Arm, parse_arms
from eval.servers.engines import engine_of, sglang

from .test_server import ROOT, pids, running

BED = ["--device", "cpu", "--attention-backend", "torch_native", "--disable-cuda-graph"]
BED += ["--max-total-tokens", "65536"]
HEAD = ["SGLANG", "--model-path", "t", "--host", "127.0.0.1", "--port", "5", "--enable-metrics"]


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an SGLang and a GPU, for tests to take away."""
    monkeypatch.setattr(sglang, "launcher", lambda: ["SGLANG"])
    monkeypatch.setattr(sglang, "gpus", lambda: ["H200"])
    for name in ("OMP_NUM_THREADS", "LONGSPEC_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def options(*more: str) -> Options:
    return parse(["--engine", "sglang", "--model", "t", *more])


def arm(name: str, *more: str) -> tuple[list[str], Any]:
    """What an arm adds to the plain command line, and its LONGSPEC_CONFIG."""
    given = options("--arms", name, *more)
    made = parse_arms(given)[0]
    line = server.command(given, made, 5)
    assert line[: len(HEAD)] == HEAD
    config = server.environment(given, made).get("LONGSPEC_CONFIG")
    return line[len(HEAD) :], json.loads(config) if config else None


def test_our_arms() -> None:
    ours = ["--speculative-algorithm", "LONGSPEC"]
    draft = [*ours, "--speculative-draft-model-path", "d"]
    tree = ("--tree-shape", "4,2")
    assert arm("vanilla") == ([], None)
    assert arm("longspec", "--draft", "d") == (draft, None)
    assert arm("longspec", "--draft", "d", *tree) == (draft, {"tree_shape": [4, 2]})
    assert arm("prompt_lookup") == (ours, {"proposer": "prompt_lookup"})
    lookup = {"proposer": "prompt_lookup", "tree_shape": [4, 2]}
    assert arm("prompt_lookup", *tree) == (ours, lookup)
    own = '{"method": "longspec", "model": "d", "min_probability": 0.1}'
    assert arm(f"a={own}") == (draft, {"min_probability": 0.1})


def test_arms_of_sglang() -> None:
    ngram = ["--speculative-algorithm", "NGRAM", "--speculative-num-draft-tokens", "12"]
    assert arm("ngram") == (ngram, None)
    own = {
        "speculative_algorithm": "EAGLE3",
        "speculative_num_steps": 3,
        "speculative_token_map": None,
        "enable_a": True,
        "enable_b": False,
    }
    flags = ["--speculative-algorithm", "EAGLE3", "--speculative-num-steps", "3", "--enable-a"]
    assert arm(f"e={json.dumps(own)}") == (flags, None)
    assert Arm("e", own).depth == 3


def test_options_of_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    more = ["--dtype", "float32", "--max-model-len", "99", "--server-args", "--x 'a b'"]
    given = options(*more)
    line = server.command(given, Arm("vanilla"), 5, tmp_path)
    assert line == [
        *HEAD,
        *("--dtype", "float32", "--context-length", "99", "--x", "a b"),
        *("--export-metrics-to-file", "--export-metrics-to-file-dir", str(tmp_path)),
    ]


@pytest.mark.parametrize(
    ("flags", "gpus", "bed"),
    [
        ("", ["H200"], False),
        ("", [], True),
        ("--page-size 16", [], True),
        ("--device xpu", [], False),
        ("--device=cuda", [], False),
    ],
)
def test_the_test_bed_on_a_cpu(
    flags: str, gpus: list[str], bed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sglang, "gpus", lambda: gpus)
    given = options("--server-args", flags)
    line = server.command(given, Arm("vanilla"), 5)
    assert line == HEAD + BED * bed + flags.split()
    assert server.environment(given).get("OMP_NUM_THREADS") == ("1" if bed else None)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert server.environment(given)["OMP_NUM_THREADS"] == "4"


def test_an_inherited_configuration_stays_where_an_arm_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LONGSPEC_CONFIG", '{"tree_shape": [2]}')
    assert arm("longspec", "--draft", "d")[1] == {"tree_shape": [2]}
    assert arm("longspec", "--draft", "d", "--tree-shape", "3")[1] == {"tree_shape": [3]}


def test_vllm_takes_no_variables() -> None:
    config = {"method": "longspec", "model": "d", "tree_shape": [2]}
    assert engine_of("vllm").variables(config) == {}


def test_an_arm_is_served_measured_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with files of request metrics: a folder for each arm and round."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "config.json").write_text("{}")
    program = tmp_path / "sglang"
    dummy = f"cd {ROOT} && exec {sys.executable} -m tests.unit.eval.dummy_server"
    program.write_text(f'#!/bin/sh\n{dummy} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sglang, "launcher", lambda: [str(program)])
    monkeypatch.setitem(os.environ, "DUMMY_PIDS", str(tmp_path / "pids"))
    monkeypatch.setitem(os.environ, "DUMMY_MODE", "serve")
    out = tmp_path / "out"
    line = ["--engine", "sglang", "--model", f"{tmp_path}/target", "--output-dir", str(out)]
    line += ["--arms", "prompt_lookup", "--num-prompts", "2", "--rounds", "2"]
    stale = out / "logs" / "prompt_lookup.metrics"
    stale.mkdir(parents=True)
    assert speed_bench.main([*line, "--output-len", "8", "--metrics-source", "file"]) == 0
    results = json.loads((out / "results.json").read_text())
    arm = results["arms"][0]
    assert set(arm["acceptance_length_per_source"]) == {"response", "server", "file"}
    assert arm["steps"] == 4
    names = {path.name for path in (out / "logs").iterdir()}
    assert names == {"prompt_lookup.log", "prompt_lookup.2.log", "prompt_lookup.metrics"}
    shown = results["provenance"]["server_commands"]["prompt_lookup"]
    assert shown.startswith("""env 'LONGSPEC_CONFIG={"proposer": "prompt_lookup"}' """)
    assert not any(map(running, pids(tmp_path)))
