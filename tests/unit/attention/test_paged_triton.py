"""The paged kernel without a GPU: in Triton's interpreter, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proposers import kernels
from proposers.attention import paged_triton
from proposers.attention.paged_triton import MOST_SPLITS, PagedRows, paged_attention, splits_for

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass

HERE = Path(__file__).parent


@needs_triton
@pytest.mark.parametrize("checks", ["paged_checks.py", "case_checks.py"])
def test_in_the_interpreter(checks: str) -> None:
    assert_checks_pass(HERE / checks)


@needs_triton
@pytest.mark.parametrize(
    ("stage", "masked"), [("whole", True), ("whole", False), ("parts", False), ("rest", True)]
)
@pytest.mark.parametrize(
    ("capability", "dtype", "dim", "folded"),
    [
        (80, "bf16", 64, 17),
        (80, "bf16", 128, 68),
        (86, "fp32", 256, 68),
        (90, "bf16", 128, 68),
        (90, "bf16", 256, 68),
        (90, "fp16", 80, 9),
    ],
)
def test_compiles_for_gpus(
    capability: int, dtype: str, dim: int, folded: int, stage: paged_triton.Stage, masked: bool
) -> None:
    element = 4 if dtype == "fp32" else 2
    blocks = paged_triton._blocks(folded, dim, element, stage)
    options = {name: blocks.pop(name) for name in ("num_warps", "num_stages")}
    fixed = {"groups": 4, "dim": dim, "page": 16, "masked": masked, "stage": stage, **blocks}
    fixed |= {"least": paged_triton.LEAST_SPLIT}
    fixed |= {"key_d": 1, "value_d": 1}  # strides of 1 become constants, as in a launch
    types = dict.fromkeys(("query", "keys", "values", "out"), f"*{dtype}")
    types |= dict.fromkeys(("first", "counts", "prefixes", "table"), "*i32")
    types |= {"parts": "*fp32", "parts_lse": "*fp32"}
    types |= {"slots": "*i64", "mask": "*u8", "scale": "fp32"}
    assembly = compile_for(capability, paged_triton._kernel, types, fixed, options)
    assert ("mma" in assembly) == (dtype != "fp32")  # tensor cores


@pytest.mark.parametrize(
    ("batch", "kv_heads", "folded", "keys", "splits"),
    [
        (1, 8, 68, 32_768, 33),  # 8 programs of 264
        (1, 8, 68, 5_000, 19),  # no part under 256 keys
        (1, 8, 68, 400, 1),
        (8, 8, 68, 32_768, 4),
        (8, 8, 260, 32_768, 1),  # three blocks of rows
        (16, 8, 68, 32_768, 2),
        (33, 8, 68, 32_768, 1),  # full
        (1, 1, 17, 131_072, MOST_SPLITS),
        (0, 8, 68, 32_768, MOST_SPLITS),
    ],
)
def test_prefixes_are_split_until_the_device_is_full(
    batch: int, kv_heads: int, folded: int, keys: int, splits: int
) -> None:
    assert splits_for(batch, kv_heads, folded, keys, processors=132) == splits


def attend(splits: int) -> None:
    one = torch.zeros(1, 1, 16)
    numbers = torch.zeros(1, dtype=torch.int32)
    rows = PagedRows(1, numbers, numbers, numbers, numbers[None], numbers, None)
    paged_attention(one, one[None], one[None], one, rows, 1.0, splits)


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    with pytest.raises(ImportError, match="needs Triton: pip install triton"):
        attend(1)


@needs_triton
def test_refusal_of_no_splits() -> None:
    with pytest.raises(ValueError, match="splits is 0; allowed: 1 or more"):
        attend(0)
