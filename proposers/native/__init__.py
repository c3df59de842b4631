"""CPU kernels in plain C++: compiled once per machine, on first use, beside their headers."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

HERE = Path(__file__).parent
FLAGS = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=c++17"]
DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
"""Elements that kernels take, and how their functions' names end."""


@functools.cache
def library(source: Path, *flags: str) -> ctypes.CDLL | None:
    """The functions of one C++ source; None where no compiler is found or it fails.

    Args:
        flags: more for the compiler, after the source.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        return None
    path = _cache_folder() / f"{source.stem}-{_fingerprint(source, compiler, flags)}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        built = path.with_suffix(f".{os.getpid()}.tmp")
        command = [compiler, *FLAGS, f"-I{HERE}", str(source), *flags, "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        built.replace(path)
    return ctypes.CDLL(str(path))


def multiplies_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether a device multiplies in bfloat16. A CPU does where torch's library (oneDNN) has such
    products for it; else there are plain loops alone, which take ten to a hundred times as long."""
    on_cpu = torch.device(device).type == "cpu"
    return not on_cpu or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _cache_folder() -> Path:
    root = os.environ.get("LONGSPEC_CACHE") or Path.home() / ".cache" / "longspec-plugin"
    return Path(root) / "native"


def _fingerprint(source: Path, compiler: str, flags: Sequence[str]) -> str:
    """Sources, flags, compiler and processor: what the machine code depends on."""
    cpu = Path("/proc/cpuinfo")
    able = next((line for line in _lines(cpu) if line.startswith(("flags", "Features"))), "")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    headers = {*HERE.glob("*.h"), *source.parent.glob("*.h")}
    sources = [part.read_bytes() for part in (source, *sorted(headers))]
    parts = [*sources, " ".join([*FLAGS, *flags]).encode(), version, able.encode()]
    return hashlib.sha256(b"\0".join([*parts, platform.machine().encode()])).hexdigest()[:16]


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
