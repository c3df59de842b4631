"""What a machine must have before anything is installed; each check raises one line."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from .console import SetupError

MIN_PYTHON = (3, 11)
GIB = 1024**3


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    """Python 3.11 or newer."""
    if version[:2] < MIN_PYTHON:
        raise SetupError(
            f"Python {'.'.join(map(str, version))} is too old; 3.11 or newer is needed:"
            " install it and run `make PYTHON=python3.12 ...`"
        )


def check_platform(name: str = sys.platform) -> None:
    """Linux."""
    if name != "linux":
        raise SetupError(f"platform {name!r}: vLLM runs on linux only; use Linux or the Dockerfile")


def check_venv() -> None:
    """The modules that make an environment (some distributions package them apart)."""
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        raise SetupError(
            "this Python cannot make environments (no venv or ensurepip module);"
            " run `apt install python3-venv` and try again"
        )


def check_compiler() -> None:
    """``g++`` and Python's headers: vLLM and the plugin compile kernels on a CPU."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SetupError(
            f"no C++ compiler ({compiler}); vLLM compiles on a CPU: run `apt install g++`"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise SetupError(f"{header} is missing; run `apt install python3-dev` and try again")


def check_disk(folder: Path, gib: float) -> None:
    """``gib`` GiB free where ``folder`` is or will be."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < gib:
        raise SetupError(
            f"{existing}: {free:.1f} GiB free, {gib:g} GiB needed; free some space"
            " or move the checkout"
        )


def has_nvidia_gpu() -> bool:
    """Whether ``nvidia-smi`` lists a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout
