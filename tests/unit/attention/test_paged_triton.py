"""The paged kernel without a GPU: in Triton's interpreter, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from proposers import kernels
from proposers.attention import paged_triton

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("paged_checks.py"))


@needs_triton
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    ("capability", "dtype", "dim", "rows"),
    [(80, "bf16", 64, 32), (86, "fp32", 128, 16), (90, "bf16", 128, 64), (90, "fp16", 80, 64)],
)
def test_compiles_for_gpus(capability: int, dtype: str, dim: int, rows: int, masked: bool) -> None:
    fixed = {"groups": 4, "dim": dim, "block_dim": 1 << (dim - 1).bit_length(), "page": 16}
    fixed |= {"block_rows": rows, "block_keys": paged_triton.BLOCK_KEYS, "masked": masked}
    fixed |= {"key_d": 1, "value_d": 1}  # strides of 1 become constants, as in a launch
    types = dict.fromkeys(("query", "keys", "values", "out"), f"*{dtype}")
    types |= dict.fromkeys(("first", "counts", "prefixes", "table"), "*i32")
    types |= {"slots": "*i64", "mask": "*u8", "scale": "fp32"}
    options = {"num_stages": paged_triton.STAGES}
    assembly = compile_for(capability, paged_triton._kernel, types, fixed, options)
    assert ("mma" in assembly) == (dtype != "fp32")


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(kernels, "triton", None)
    one = torch.zeros(1, 1, 16)
    numbers = torch.zeros(1, dtype=torch.int32)
    rows = paged_triton.PagedRows(1, numbers, numbers, numbers, numbers[None], numbers, None)
    with pytest.raises(ImportError, match="needs Triton: pip install triton"):
        paged_triton.paged_attention(one, one[None], one[None], one, rows, 1.0)
