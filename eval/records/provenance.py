"""Where a result comes from: command, versions, revision, hardware, environment."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from ..cli.options import Options, without_keys

_PACKAGES = (
    "longspec-plugin",
    "vllm",
    "sglang",
    "torch",
    "transformers",
    "httpx",
    "numpy",
    "scipy",
)
_VARIABLES = re.compile(r"(VLLM|SGLANG|OMP|MKL|KMP|GOMP|CUDA|HF_HUB|LONGSPEC)_")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")


def of_bench(
    options: Options, commands: dict[str, list[str]], environment: dict[str, str]
) -> dict[str, Any]:
    """Everything one needs to run it again; commands (by arm) and environment of the servers."""
    told = {
        "options": options.shown(),
        "server_commands": {arm: without_keys(shlex.join(line)) for arm, line in commands.items()},
    }
    return describe("eval.speed_bench", told, environment)


def describe(module: str, told: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """The same for any command of ``eval``; ``told`` is what only that command knows."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": without_keys(shlex.join(["python", "-m", module, *sys.argv[1:]])),
        **told,
        "versions": {"python": platform.python_version(), **_versions()},
        "revision": _revision(),
        "hardware": _hardware(),
        "environment": _telling(environment),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _output(*line: str) -> str | None:
    """What a command prints; None where it fails or is missing."""
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=10, cwd=Path(__file__).parent, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _revision() -> dict[str, Any]:
    commit = _output("git", "rev-parse", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "changed": bool(changed) if commit else None}


@cache
def gpus() -> list[str]:
    """NVIDIA GPUs of this machine, with their memory."""
    listed = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return listed.splitlines() if listed else []


def _hardware() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=True),
        "cores_allowed": sorted(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus(),
        "system": platform.platform(),
    }


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name.group(1) if name else platform.machine()


def _telling(environment: dict[str, str]) -> dict[str, str]:
    """The variables that steer engines, threads and model loading, without secrets."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if _VARIABLES.match(name) and not _SECRET.search(name)
    }
