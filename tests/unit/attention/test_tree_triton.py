"""The Triton kernel without a GPU: run by Triton's interpreter, and compiled for GPUs, not run.

Triton decides at its import whether to interpret, for the whole process, so ``kernel_checks`` run
in a process of their own.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers import kernels
from proposers.attention import tree_triton

from ..compiled import compile_for, needs_triton
from ..interpreted import ROOT, assert_checks_pass
from .cases import random_case
from .steps import random_step

HERE = Path(__file__).parent


@needs_triton
@pytest.mark.parametrize("checks", ["kernel_checks.py", "ragged_checks.py"])
def test_in_the_interpreter(checks: str) -> None:
    assert_checks_pass(HERE / checks)


@needs_triton
@pytest.mark.parametrize(
    ("capability", "dtype", "dim", "flags"),
    [
        (75, "fp16", 64, {"merged": True, "ragged": False}),
        (80, "bf16", 80, {"merged": False, "ragged": False}),
        (90, "bf16", 128, {"merged": True, "ragged": False}),
        (86, "fp32", 256, {"merged": True, "ragged": False}),
        (80, "bf16", 128, {"merged": True, "ragged": True}),
        (86, "fp32", 256, {"merged": True, "ragged": True}),
        (90, "bf16", 128, {"merged": True, "ragged": True}),
    ],
    ids=str,
)
def test_compiles_for_gpus(capability: int, dtype: str, dim: int, flags: dict[str, bool]) -> None:
    fixed = {"groups": 4, "dim": dim, **flags}
    fixed |= tree_triton._blocks(dim, 4 if dtype == "fp32" else 2)
    fixed |= {"mask_t": 1, "before_lse_w": 1, "lse_w": 1}  # strides of 1, as in a launch
    types = dict.fromkeys(("query", "keys", "values", "before"), f"*{dtype}")
    types |= {"seen": "*u8", "before_lse": "*fp32", "lse": "*fp32", "scale": "fp32"}
    types |= {"first": "*i32", "counts": "*i32", "slots": "*i64"}
    types |= {"out": f"*{dtype}" if flags["merged"] else "*fp32"}
    options = {"num_stages": tree_triton.STAGES}
    assembly = compile_for(capability, tree_triton._kernel, types, fixed, options)
    assert ("mma" in assembly) == (dtype != "fp32" and capability >= 80)  # tensor cores


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    case = random_case(1, 1, 1, 2, 2, 16)
    assert not kernels.available()
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


@needs_triton
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query": torch.zeros(12, 3, 16)}, "3 heads over 2 KV heads"),
        ({"out": torch.zeros(12, 16, 4).mT}, "out has stride 4"),
        ({"values": torch.zeros(10, 2, 16)}, r"values is \[10, 2, 16\]"),
        ({"prefix": (torch.zeros(12, 4, 16), torch.zeros(12, 4))}, "prefix's LSE"),
        ({"mask": None}, "mask None; allowed: to 256, torch.uint8"),
        ({"mask": torch.ones(5, 4, 4)}, "mask torch.float32"),
    ],
)
def test_refusals_of_steps(change: dict[str, Any], words: str) -> None:
    step = random_step([[-1, 0, 0], [-1]], [3, 4], 2, 2, 16)
    given = {"query": step.query, "keys": step.step_keys, "values": step.step_values}
    given |= {"out": torch.zeros(12, 4, 16), "rows": step.rows}
    given |= {"prefix": (torch.zeros(12, 4, 16), torch.zeros(4, 12))}
    if "mask" in change:
        change = {"rows": replace(step.rows, **change)}
    with pytest.raises(ValueError, match=words):
        tree_triton.ragged_tree_attention_triton(**given | change, scale=1.0)
