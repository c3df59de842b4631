"""The import rules between the rooms, and that a broken rule would be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def isolated(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_rules_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("proposers.registry, proposers.glide.proposer", ("vllm", "sglang", "longspec_plugin")),
        ("longspec_plugin.options", ("vllm", "sglang", "eval", "longspec_eval")),
        *(
            (f"eval.{name}", ("torch", "vllm", "sglang", "proposers", "longspec_plugin"))
            for name in ("speed_bench", "compare", "prepare_data", "latency_bench")
        ),
    ],
)
def test_nothing_unwanted_is_loaded(module: str, unwanted: tuple[str, ...]) -> None:
    """The same at run time, where lazy imports count as well."""
    code = f"import sys, {module}; print([m for m in {unwanted!r} if m in sys.modules])"
    done = isolated(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_registering_without_the_method_loads_no_adapter() -> None:
    """An installed plugin leaves other runs alone: no worker, no runner, no attention backend."""
    code = (
        "import sys; from longspec_plugin.vllm import register; register(); register();"
        "print([m for m in sys.modules if m.startswith('longspec_plugin.vllm.')"
        " and m.rsplit('.')[-1] in ('worker', 'worker_cpu', 'runner', 'attention')])"
    )
    done = isolated(code)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr
