"""The choice of nodes by a kernel without a GPU: interpreted, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proposers import growth_triton, kernels

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("growth_checks.py"))


@needs_triton
@pytest.mark.parametrize("capability", [80, 86, 90])
def test_compiles_for_gpus(capability: int) -> None:
    types = dict.fromkeys(("scores", "log_probs", "node_scores"), "*fp32")
    types |= dict.fromkeys(("tokens", "nodes", "dense"), "*i64")
    fixed = {"block": growth_triton.BLOCK, "others": growth_triton.OTHERS}
    assert compile_for(capability, growth_triton._kernel, types, fixed, {})


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    with pytest.raises(ImportError, match="LevelsTriton needs Triton: pip install triton"):
        growth_triton.LevelsTriton(1, 1, torch.device("cpu"))
