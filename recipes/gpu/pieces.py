"""The pieces of the measurement: a command each, how long it may take, and what it leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import bf16, cycle
from .plan import Plan, read
from .processes import module

Command = Callable[[Plan, Path, float], list[str]]
"""From the plan, the folder of the run and the seconds that are left, the line to run."""


@dataclass(frozen=True)
class Piece:
    """One piece.

    Attributes:
        title: what it does, in words.
        result: the file that it writes, below the folder of the run.
        limit: seconds that it may take.
        alone: times are measured: nothing else may run.
    """

    title: str
    command: Command
    result: str
    limit: float
    alone: bool

    def found(self, folder: Path) -> dict[str, Any] | None:
        """What it has measured so far; None where that is nothing."""
        path = next(folder.glob(self.result), folder / self.result)
        return counts_of(path) if path.suffix == ".xml" else read(path)


def pytest(result: str, *what: str) -> Command:
    """Tests as a piece; float32 products are products of float32."""

    def command(plan: Plan, folder: Path, seconds: float) -> list[str]:
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=0"]
        return [*line, f"--junitxml={folder / result}", *what]

    return command


def own(name: str) -> Command:
    """A module of this package as a piece."""
    return lambda plan, folder, seconds: module(name, folder, "--seconds", f"{seconds:.0f}")


def attention(plan: Plan, folder: Path, seconds: float) -> list[str]:
    line = [sys.executable, "-m", "recipes.offline.attention", "--device", plan.device]
    return [*line, "--output-dir", str(folder / "attention")]


def draft(plan: Plan, folder: Path, seconds: float) -> list[str]:
    line = [sys.executable, "-m", "recipes.offline.step", "--draft-only", "--shapes", plan.shapes]
    line += ["--contexts", json.dumps(plan.contexts), "--tree-shape", json.dumps(plan.tree)]
    line += ["--dtype", plan.dtype, "--device", plan.device, "--repeats", "50"]
    line += ["--draft-vocab", str(plan.draft_vocab)]
    return [*line, "--output-dir", str(folder / "draft")]


def counts_of(path: Path) -> dict[str, Any] | None:
    """Counts of a JUnit file, and the names of the tests that failed."""
    try:
        suite = next(ElementTree.parse(path).iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return None
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    bad = [case for case in suite.iter("testcase")
           if case.find("failure") is not None or case.find("error") is not None]  # fmt: skip
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    names = [str(case.get("name")) for case in bad]
    return {"passed": passed, "failed": failed, "skipped": counts["skipped"], "names": names}


SLOW = ("test_synthetic.py", "test_training.py")
"""Of ``tests/gpu``: a server's counts and a training step, which ``make gpu-more`` runs."""
KERNELS = ("tests/gpu", *(f"--ignore=tests/gpu/{name}" for name in SLOW))
PIECES = {
    "kernels": Piece(
        "kernels against plain torch", pytest("kernels.xml", *KERNELS), "kernels.xml", 240, False
    ),
    "identity": Piece(
        "float32: trees change no token",
        pytest("identity.xml", "tests/engine/v2"),
        "identity.xml",
        300,
        False,
    ),
    "bf16": Piece("bfloat16: where answers part", own("bf16"), bf16.RESULT, 300, False),
    "attention": Piece("hybrid attention", attention, "attention/attention.json", 120, True),
    "draft": Piece("drafting by context", draft, "draft/step_*.json", 90, True),
    "cycle": Piece("a cycle beside vLLM's step", own("cycle"), cycle.RESULT, 900, True),
}
"""In the order in which they run: what is not timed first, and side by side."""
