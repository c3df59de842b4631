"""The move of accepted KV without a GPU: in Triton's interpreter, and compiled, not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from proposers import kernels
from proposers.attention import kv_move_triton
from proposers.attention.kv_move_triton import KVMover

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("move_checks.py"))


@needs_triton
@pytest.mark.parametrize("capability", [80, 86, 90])
@pytest.mark.parametrize(("bits", "dim"), [(8, 128), (16, 80), (16, 128), (32, 64)])
def test_compiles_for_gpus(capability: int, bits: int, dim: int) -> None:
    """All is read before a barrier, and written behind it."""
    import triton.language as tl

    kernel = kv_move_triton._kernel
    fixed = {"dim": dim, "block_dim": 1 << (dim - 1).bit_length(), "page": 16, "block_levels": 8}
    fixed |= {"element": getattr(tl, f"int{bits}"), "alignment": 16}
    fixed |= {"row_d": 1, "key_d": 1, "value_d": 1}  # strides of 1 become constants
    types = dict.fromkeys(("pointers", "rows", "first", "slots"), "*i64") | {"flat_rows": "*i32"}
    assembly = compile_for(capability, kernel, types, fixed, {})
    order = re.findall(r"ld\.global|bar\.sync|st\.global", assembly)
    barrier = order.index("bar.sync", len(order) - order[::-1].index("ld.global"))
    assert "st.global" in order[barrier:]
    assert "st.global" not in order[:barrier]


@needs_triton
@pytest.mark.parametrize(
    ("caches", "words"),
    [
        ([], "no layer's KV"),
        ([(torch.zeros(2, 1, 4, 8), torch.zeros(2, 1, 4, 6))], "allowed: one shape and dtype"),
        (
            [(torch.zeros(2, 1, 4, 8),) * 2, (torch.zeros(2, 1, 4, 8), torch.zeros(3, 1, 4, 8))],
            r"values of layer 1 are \[3, 1, 4, 8\].*as in 0: \[2",
        ),
        (
            [(torch.zeros(2, 1, 4, 8),) * 2, (torch.zeros(2, 1, 4, 8).half(),) * 2],
            "keys of layer 1 are .*float16",
        ),
        (
            [(torch.zeros(2, 1, 4, 8),) * 2, (torch.zeros(2, 1, 8, 4).mT,) * 2],
            r"keys of layer 1 are .*strides \[32, 32, 1, 4\]",
        ),
    ],
)
def test_refusals(caches: list[tuple[torch.Tensor, torch.Tensor]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KVMover(caches)


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    with pytest.raises(ImportError, match="KVMover needs Triton: pip install triton"):
        KVMover([])
