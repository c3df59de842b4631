"""Print the dtype to serve the default target in: ``auto``, or what this processor can multiply.

Most x86 processors without AVX-512 have no bfloat16, the target's own: vLLM's products fall back to
plain loops there, and a prompt takes minutes. They are served in float32. On a GPU, on others and
where nothing is known it is ``auto``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MULTIPLY = ("avx512f", "avx_ne_convert")
"""Flags of which one is enough: oneDNN computes bfloat16 with it, natively or nearly so."""


def dtype(cpuinfo: str, gpu: bool) -> str:
    """What to serve in, by the processor's flags as Linux tells them."""
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    slow = "sse2" in flags and not any(flag in flags for flag in MULTIPLY)
    return "float32" if slow and not gpu else "auto"


def chosen() -> str:
    """The same for this machine."""
    told = CPUINFO.read_text() if CPUINFO.is_file() else ""
    return dtype(told, shutil.which("nvidia-smi") is not None)


if __name__ == "__main__":
    print(chosen())
