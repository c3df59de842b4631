"""Pieces as processes: one fails and the others go on, time runs out, a kill loses nothing."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.gpu import running
from recipes.gpu.pieces import PIECES, Piece
from recipes.gpu.plan import Plan, read
from recipes.gpu.running import Run
from recipes.gpu.table import STATES

PLAN = Plan(device="cpu")
WRITES = "open('{file}', 'a').write('1'); "
HANGS = "import subprocess, time; p = subprocess.Popen(['sleep', '99']); print(p.pid, flush=True);"


def piece(code: str, result: str, limit: float = 60, alone: bool = False) -> Piece:
    def command(plan: Plan, folder: Path, seconds: float) -> list[str]:
        return [sys.executable, "-c", code.replace("{file}", str(folder / result))]

    return Piece(result, command, result, limit, alone)


@pytest.fixture(autouse=True)
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three that are not timed, and one alone."""
    monkeypatch.setattr(running, "LEAST_S", 0.0)
    monkeypatch.setattr(running, "SPARE_S", 0.0)
    for name in list(PIECES):
        monkeypatch.delitem(PIECES, name)
    made = {
        "fine": piece(WRITES, "fine.json"),
        "bad": piece(WRITES + "raise ValueError('no such kernel')", "bad.json"),
        "slow": piece(WRITES + HANGS + "time.sleep(99)", "slow.json", limit=3),
        "timed": piece(WRITES, "timed.json", alone=True),
    }
    for name, each in made.items():
        monkeypatch.setitem(PIECES, name, each)


def perform(
    folder: Path, names: list[str], seconds: float = 60, resume: bool = False
) -> tuple[dict[str, Any], str]:
    """The states that the pieces end in, and what was printed."""
    out = io.StringIO()
    Run(PLAN, folder, seconds, Console(file=out, width=200)).perform(names, resume)
    return read(folder / STATES), out.getvalue()


def state(states: dict[str, Any]) -> dict[str, str]:
    return {name: each["state"] for name, each in states.items()}


def test_one_fails_and_the_others_go_on(tmp_path: Path) -> None:
    states, printed = perform(tmp_path, ["fine", "bad", "timed"])
    assert state(states) == {"fine": "done", "bad": "failed", "timed": "done"}
    assert "no such kernel" in states["bad"]["why"]
    assert "Traceback" in printed
    assert Path(states["bad"]["log"]).read_text().count("no such kernel") == 1


def test_a_late_one_is_stopped_with_its_children_and_keeps_its_results(tmp_path: Path) -> None:
    states, _ = perform(tmp_path, ["slow", "timed"])
    assert state(states) == {"slow": "late", "timed": "done"}
    assert (tmp_path / "slow.json").read_text() == "1"
    assert gone(int(Path(states["slow"]["log"]).read_text().split()[0]))


def gone(pid: int) -> bool:
    """Whether a process ends within a second (a zombie has)."""
    for _ in range(20):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_without_time_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LEAST_S", 5.0)
    states, printed = perform(tmp_path, ["fine", "timed"], seconds=1)
    assert state(states) == {"fine": "not run", "timed": "not run"}
    assert printed.count("no time left") == 2
    assert not (tmp_path / "fine.json").exists()


def test_the_end_of_the_budget_is_the_limit(tmp_path: Path) -> None:
    began = time.monotonic()
    states, _ = perform(tmp_path, ["slow", "timed"], seconds=1)
    assert state(states) == {"slow": "late", "timed": "not run"}
    assert time.monotonic() - began < 30


def test_going_on_leaves_out_what_is_done(tmp_path: Path) -> None:
    perform(tmp_path, ["fine", "bad"])
    states, _ = perform(tmp_path, ["fine", "bad", "timed"], resume=True)
    assert state(states) == {"fine": "done", "bad": "failed", "timed": "done"}
    ran = {name: (tmp_path / f"{name}.json").read_text() for name in states}
    assert ran == {"fine": "1", "bad": "11", "timed": "1"}


def test_otherwise_results_are_measured_anew(tmp_path: Path) -> None:
    perform(tmp_path, ["fine", "timed"])
    perform(tmp_path, ["fine"])
    assert (tmp_path / "fine.json").read_text() == "1"
    assert state(read(tmp_path / STATES)) == {"timed": "done", "fine": "done"}


def test_ctrl_c_stops_all_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(self: Run, *_: Any) -> None:
        if (tmp_path / "slow.json").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "look", look)
    with pytest.raises(KeyboardInterrupt):
        perform(tmp_path, ["slow", "timed"])
    states = json.loads((tmp_path / STATES).read_text())
    assert state(states) == {"slow": "stopped", "timed": "not run"}
    assert (tmp_path / "slow.json").exists()
