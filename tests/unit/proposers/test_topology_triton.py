"""Trees' shapes by a kernel without a GPU: interpreted, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proposers import kernels, topology_triton
from proposers.tree import chains

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("topology_checks.py"))


@needs_triton
@pytest.mark.parametrize("capability", [80, 86, 90])
@pytest.mark.parametrize("columns", [1, 32, 128])
def test_compiles_for_gpus(capability: int, columns: int) -> None:
    names = ("above", "depth", "size", "slots", "parents", "depths", "sizes")
    types = dict.fromkeys(names, "*i64") | {"mask": "*u8"}
    fixed = {"block": topology_triton.BLOCK, "columns": columns, "above_n": 1, "depth_n": 1}
    assert compile_for(capability, topology_triton._kernel, types, fixed, {})


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    one = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ImportError, match="write_topology needs Triton: pip install triton"):
        topology_triton.write_topology(chains([[1]]), one[0], one, one, one[0], one[None])
