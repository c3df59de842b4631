"""The CPU kernels, shared by the adapters: compiled once per machine, on first use."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("tree_attention.cpp")
FLAGS = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=c++17"]


class Problem(ctypes.Structure):
    """Mirror of ``struct Problem`` in the C++ source."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in ("query", "out", "keys", "values", "table")]
        + [(name, ctypes.c_void_p) for name in ("table_row", "first_row", "prefix", "tail", "mask")]
        + [(name, ctypes.c_int64) for name in ("batch", "heads", "kv_heads", "head_dim")]
        + [(name, ctypes.c_int64) for name in ("block_size", "query_stride", "out_stride")]
        + [(name, ctypes.c_int64) for name in ("table_stride", "mask_width")]
        + [(name, ctypes.c_int64) for name in ("cache_stride", "head_stride")]
        + [("scale", ctypes.c_float)]
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, compiled on first use; None where no C++ compiler is found."""
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        return None
    path = _cache_folder() / f"tree_attention-{_fingerprint(compiler)}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        built = path.with_suffix(f".{os.getpid()}.tmp")
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        built.replace(path)
    return ctypes.CDLL(str(path))


def _cache_folder() -> Path:
    root = os.environ.get("LONGSPEC_CACHE") or Path.home() / ".cache" / "longspec-plugin"
    return Path(root) / "native"


def _fingerprint(compiler: str) -> str:
    """Source, flags, compiler and processor: what the machine code depends on."""
    cpu = Path("/proc/cpuinfo")
    flags = next((line for line in _lines(cpu) if line.startswith(("flags", "Features"))), "")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    parts = [SOURCE.read_bytes(), " ".join(FLAGS).encode(), version, flags.encode()]
    return hashlib.sha256(b"\0".join([*parts, platform.machine().encode()])).hexdigest()[:16]


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
