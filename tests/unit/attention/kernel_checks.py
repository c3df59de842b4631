"""Checks of the Triton kernel on any device.

Not collected by its name. ``test_tree_triton`` runs it in a process of its own in Triton's
interpreter, and ``tests/gpu`` on a GPU.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from proposers.attention import tree_triton
from proposers.attention.tree_triton import tree_attention_triton

from .cases import (
    Case,
    assert_same,
    every_other,
    fenced,
    random_case,
    rows_before_heads,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
LAYOUTS = [rows_before_heads, fenced, every_other]
Parts = tuple[Tensor, Tensor]


def alone(case: Case) -> Parts:
    return tree_attention_triton(case.query, case.keys, case.values, case.mask, case.scale)


def merged(case: Case, prefix: Parts | None = None) -> Parts:
    parts = (case.query, case.keys, case.values, case.mask)
    return tree_attention_triton(*parts, case.scale, prefix or case.prefix())


@DTYPES
@settings(max_examples=8)
@given(
    sizes=st.tuples(
        st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40),
        st.integers(1, 70), st.sampled_from([16, 32, 64, 80, 96, 128]),
    ),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_ragged_shapes(
    device: str, dtype: torch.dtype, sizes: tuple[int, int, int, int, int, int], seed: int
) -> None:
    case = random_case(*sizes, dtype=dtype, device=device, seed=seed)
    assert_same(alone(case), case.tree_answer(), dtype)
    assert_same(merged(case), case.merged_answer(), dtype)


@pytest.mark.parametrize(
    ("width", "key_count"), [(129, 129), (32, 33), (33, 32), (32, 64), (1, 1), (1, 129), (129, 1)]
)
def test_sizes_beside_the_blocks(device: str, width: int, key_count: int) -> None:
    case = random_case(1, 1, 2, width, key_count, 32, device=device)
    assert_same(merged(case), case.merged_answer(), torch.float32)


def test_dtypes_of_the_answer(device: str) -> None:
    case = random_case(1, 1, 2, 5, 5, 16, dtype=torch.float16, device=device)
    assert [part.dtype for part in alone(case)] == [torch.float32, torch.float32]
    assert [part.dtype for part in merged(case)] == [torch.float16, torch.float32]


@DTYPES
@pytest.mark.parametrize("turn", range(len(LAYOUTS)))
def test_memory_layouts(device: str, dtype: torch.dtype, turn: int) -> None:
    """Every input has strides of its own, so that none can stand in for another's."""
    case = random_case(2, 2, 3, 19, 37, 80, dtype=dtype, device=device)
    layouts = itertools.cycle(LAYOUTS[turn:] + LAYOUTS[:turn])
    names = ("query", "keys", "values", "mask")
    odd = replace(case, **{name: next(layouts)(getattr(case, name)) for name in names})
    prefix = case.prefix()
    assert_same(alone(odd), case.tree_answer(), dtype)
    next(layouts)  # the prefix's output is not laid out like the query
    assert_same(
        merged(odd, (next(layouts)(prefix[0]), next(layouts)(prefix[1]))),
        case.merged_answer(),
        dtype,
    )


def test_broadcast_inputs(device: str) -> None:
    """Strides of 0: one mask and one set of keys for a whole batch."""
    case = random_case(3, 2, 2, 11, 21, 32, device=device)
    mask, keys = case.mask[:1].expand_as(case.mask), case.keys[:1].expand_as(case.keys)
    case = replace(case, mask=mask, keys=keys)
    assert_same(merged(case), case.merged_answer(), torch.float32)


@pytest.mark.parametrize(("width", "key_count"), [(16, 32), (17, 32), (16, 33), (5, 7)])
def test_nothing_outside_is_read_or_written(
    device: str, monkeypatch: pytest.MonkeyPatch, width: int, key_count: int
) -> None:
    """Rows and keys fit the blocks, or one of both does not, or neither."""
    written: list[Tensor] = []

    def outputs(query: Tensor, dtype: torch.dtype) -> Parts:
        parts = fenced(query.to(dtype)), fenced(query[..., 0].float())
        written.extend(part._base for part in parts if part._base is not None)
        return parts

    monkeypatch.setattr(tree_triton, "_new_outputs", outputs)
    case = random_case(2, 2, 1, width, key_count, 80, device=device)
    prefix = fenced(case.prefix()[0]), fenced(case.prefix()[1])
    assert_same(merged(case.laid_out(fenced), prefix), case.merged_answer(), torch.float32)
    for buffer, part in zip(written, (case.query, case.query[..., 0]), strict=True):
        assert int(buffer.isnan().logical_not().sum()) == part.numel()


def test_a_row_that_sees_nothing_is_the_prefix(device: str) -> None:
    case = random_case(2, 1, 3, 9, 40, 64, device=device)
    blind = replace(case, mask=torch.zeros_like(case.mask))
    out, lse = alone(blind)
    assert not out.any()
    assert torch.isneginf(lse).all()
    for got, given_ in zip(merged(blind), blind.prefix(), strict=True):
        assert torch.equal(got, given_)


def test_without_prefix_the_merge_is_the_tree(device: str) -> None:
    """An LSE of -inf says that there were no keys; what the output then holds does not matter."""
    case = random_case(2, 1, 3, 9, 40, 64, device=device)
    out, lse = case.prefix()
    nothing = torch.full_like(out, float("nan")), torch.full_like(lse, float("-inf"))
    assert_same(merged(case, nothing), case.tree_answer(), torch.float32)


def test_no_keys_and_no_rows(device: str) -> None:
    case = random_case(1, 1, 2, 4, 0, 32, device=device)
    assert all(torch.equal(a, b) for a, b in zip(merged(case), case.prefix(), strict=True))
    assert alone(random_case(1, 1, 2, 0, 4, 32, device=device))[0].shape == (1, 2, 0, 32)


def test_large_scores_do_not_overflow(device: str) -> None:
    case = random_case(1, 1, 2, 8, 8, 32, device=device)
    case = replace(case, query=case.query * 300)
    out, lse = merged(case)
    wanted, wanted_lse = case.merged_answer()
    torch.testing.assert_close(lse.double(), wanted_lse, rtol=1e-6, atol=0)
    torch.testing.assert_close(out.double(), wanted, rtol=0, atol=2e-3)  # exp(1e3 ± rounding)


@DTYPES
def test_a_wrong_mask_is_found(device: str, dtype: torch.dtype) -> None:
    """The control: one pair of row and key too many, and the comparison must fail."""
    case = random_case(1, 2, 2, 21, 21, 64, dtype=dtype, device=device)
    assert_same(merged(case), case.merged_answer(), dtype)
    for row, key in torch.argwhere(~case.mask[0])[:3].tolist():
        wrong = case.mask.clone()
        wrong[0, row, key] = True
        with pytest.raises(AssertionError, match="not close"):
            assert_same(merged(replace(case, mask=wrong)), case.merged_answer(), dtype)
