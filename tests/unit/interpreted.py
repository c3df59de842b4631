"""Checks that run under Triton's interpreter: it is chosen at Triton's import, for a whole process.

Their files are not collected by name; a test runs each in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def assert_checks_pass(path: Path, engine: bool = False) -> None:
    """Run a file of checks; none may fail or be skipped.

    Args:
        engine: vLLM's own kernels are interpreted too.
    """
    paths = [str(ROOT / "tests" / "interpreter"), os.environ.get("PYTHONPATH")]
    env = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    env |= {"LONGSPEC_INTERPRET": "1" if engine else "kernels"}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    assert "skipped" not in passing([str(path)], env)


def passing(arguments: list[str], env: dict[str, str]) -> str:
    """What pytest says in a process of its own, where nothing fails and something passes."""
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    env = os.environ | env
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    return done.stdout
