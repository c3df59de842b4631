"""Kernels compiled for GPUs that are not here: down to machine code, and not run."""

from __future__ import annotations

import importlib.util
import tempfile
from typing import Any

import pytest

SHARED_MEMORY = 99 * 1024
"""Bytes a program may have on the GPUs that have least of those that know bfloat16 (8.6, 8.9)."""

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: pip install triton"
)


def compile_for(
    capability: int,
    kernel: Any,
    types: dict[str, str],
    fixed: dict[str, Any],
    options: dict[str, Any],
) -> str:
    """The kernel as a launch on such a GPU would compile it; its assembly (PTX).

    Args:
        types: of the arguments that are not 32-bit integers.
        fixed: constants, and arguments whose values become constants, as strides of 1 do.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    signature = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(fixed, "constexpr") | types
    source = ASTSource(kernel, signature, fixed)
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", cache)
        compiled = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= SHARED_MEMORY
    return str(compiled.asm["ptx"])
