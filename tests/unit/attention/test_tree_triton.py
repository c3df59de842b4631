"""The Triton kernel without a GPU: run by Triton's interpreter, and compiled for GPUs, not run.

Triton decides at its import whether to interpret, for the whole process, so ``kernel_checks`` run
in a process of their own.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers.attention import tree_triton

from ..interpreted import ROOT, assert_checks_pass
from .cases import random_case

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: pip install triton"
)


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(HERE / "kernel_checks.py")


SHARED_MEMORY = 99 * 1024
"""Bytes a program may have on the GPUs that have least of those that know bfloat16 (8.6, 8.9)."""


@needs_triton
@pytest.mark.parametrize(
    ("capability", "dtype", "dim", "merged"),
    [
        (75, "fp16", 64, True),
        (80, "bf16", 80, False),
        (90, "bf16", 128, True),
        (86, "fp32", 256, True),
    ],
)
def test_compiles_for_gpus(
    capability: int,
    dtype: str,
    dim: int,
    merged: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = compile_for(capability, dtype, dim, merged)
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= SHARED_MEMORY


def compile_for(capability: int, dtype: str, dim: int, merged: bool) -> Any:
    """The kernel as a launch on such a GPU would compile it, down to machine code."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    kernel = tree_triton._kernel
    fixed = {"groups": 4, "dim": dim, "block_dim": 1 << (dim - 1).bit_length(), "merged": merged}
    fixed |= {"block_rows": tree_triton.BLOCK_ROWS, "block_keys": tree_triton.BLOCK_KEYS}
    fixed |= {"mask_t": 1, "before_lse_w": 1}  # strides of 1 become constants, as in a launch
    types = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(fixed, "constexpr")
    types |= dict.fromkeys(("query", "keys", "values", "before"), f"*{dtype}")
    types |= {"seen": "*u8", "before_lse": "*fp32", "lse": "*fp32", "scale": "fp32"}
    types |= {"out": f"*{dtype}" if merged else "*fp32"}
    target = GPUTarget("cuda", capability, 32)
    source = ASTSource(kernel, types, fixed)
    return compile(source, target=target, options={"num_stages": tree_triton.STAGES})


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_triton, "triton", None)
    case = random_case(1, 1, 1, 2, 2, 16)
    assert not tree_triton.available()
    with pytest.raises(ImportError, match="needs Triton: pip install triton"):
        tree_triton.tree_attention_triton(case.query, case.keys, case.values, case.mask, 1.0)


def test_imports_without_triton() -> None:
    block = "import sys; sys.modules['triton'] = None; "
    use = "from proposers.attention import tree_triton; assert not tree_triton.available()"
    subprocess.run([sys.executable, "-c", block + use], cwd=ROOT, check=True)


@needs_triton
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query": torch.zeros(1, 3, 4, 16)}, "3 heads over 2 KV heads"),
        ({"query": torch.zeros(1, 4, 4, 16).double()}, "float64"),
        ({"values": torch.zeros(1, 2, 5, 16).half()}, "float16"),
        ({"values": torch.zeros(1, 2, 4, 16)}, r"values is \[1, 2, 4, 16\]"),
        ({"mask": torch.zeros(1, 4, 4, dtype=torch.bool)}, r"mask is \[1, 4, 4\]"),
        ({"mask": torch.zeros(1, 4, 5)}, "mask torch.float32"),
        ({"prefix": (torch.zeros(1, 4, 4, 16), torch.zeros(1, 4, 5))}, "prefix's LSE"),
    ],
)
def test_refusals(change: dict[str, Any], words: str) -> None:
    """The kernel would read outside of its inputs, or read them as what they are not."""
    case = random_case(1, 2, 2, 4, 5, 16)
    given = {"query": case.query, "keys": case.keys, "values": case.values, "mask": case.mask}
    with pytest.raises(ValueError, match=words):
        tree_triton.tree_attention_triton(**given | change, scale=1.0)
