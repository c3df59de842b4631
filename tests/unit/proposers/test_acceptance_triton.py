"""The walk's kernel without a GPU: in Triton's interpreter, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proposers import acceptance_triton, kernels

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("walk_checks.py"))


@needs_triton
@pytest.mark.parametrize("capability", [80, 86, 90])
@pytest.mark.parametrize("nodes", [1, 16, 64])
def test_compiles_for_gpus(capability: int, nodes: int) -> None:
    names = ("drawn", "drafted", "slots", "parents", "sizes", "tokens", "rows", "accepted")
    types = dict.fromkeys(names, "*i64") | {"bounds": "*i32"}
    fixed = {"block_nodes": nodes, "parent_n": 1}
    assert compile_for(capability, acceptance_triton._kernel, types, fixed, {"num_warps": 1})


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    one = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ImportError, match="greedy_walk_triton needs Triton: pip install triton"):
        acceptance_triton.greedy_walk_triton(one, one, one, one, one[None], one, 1)
