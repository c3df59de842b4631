"""Hybrid attention is one softmax, on ragged sizes, grouped heads, any head size and strides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from proposers.attention import (
    hybrid_attention,
    key_bias,
    masked_attention,
    merge,
    prefix_attention,
    tree_attention,
)
from proposers.attention import tree as tree_module

from .reference import Problem, random_problem, softmax_attention

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}
dims = st.sampled_from([16, 32, 40, 64, 80, 96, 128])


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    sizes = [draw(st.integers(1, n)) for n in (3, 3, 4, 40, 40, 300)]
    return random_problem(draw(st.integers(0, 10_000)), *sizes, draw(dims))


def cast(problem: Problem, dtype: torch.dtype) -> Problem:
    parts = {k: v.to(dtype) for k, v in vars(problem).items() if k not in ("mask", "lengths")}
    return Problem(**parts, mask=problem.mask, lengths=problem.lengths)


def run(problem: Problem, **options: object) -> Tensor:
    bias = key_bias(problem.lengths, max(problem.lengths), problem.query)
    return hybrid_attention(*problem.tensors(), bias=bias, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@settings(max_examples=40)
@given(problem=problems())
def test_is_one_softmax(dtype: torch.dtype, problem: Problem) -> None:
    problem = cast(problem, dtype)
    out = run(problem)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.double(), softmax_attention(problem), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


@settings(max_examples=20)
@given(problem=problems(), scale=st.sampled_from([0.05, 1.0]))
def test_scale(problem: Problem, scale: float) -> None:
    expected = softmax_attention(problem, scale)
    torch.testing.assert_close(run(problem, scale=scale), expected)


@settings(max_examples=20)
@given(problem=problems())
def test_strides(problem: Problem) -> None:
    """Views such as a cache's or a projection's, whose rows do not lie side by side."""
    loose = {
        name: torch.stack([part, torch.full_like(part, torch.nan)], 3)[:, :, :, 0]
        for name, part in vars(problem).items()
        if name not in ("mask", "lengths")
    }
    loose["query"] = problem.query.transpose(1, 2).contiguous().transpose(1, 2)
    wide_mask = torch.stack([problem.mask, ~problem.mask], 2)[:, :, 0]
    strided = Problem(**loose, mask=wide_mask, lengths=problem.lengths)
    assert torch.equal(run(strided), run(problem))


@settings(max_examples=20)
@given(problem=problems())
def test_products_and_flash_agree(problem: Problem) -> None:
    p = problem
    problem.mask[:, 0] = False  # a row that sees nothing: O = 0, LSE = -inf
    attend = (p.query, p.tree_keys, p.tree_values, p.mask, 0.3)
    out, lse = tree_attention(*attend)
    patch = pytest.MonkeyPatch()
    patch.setattr(tree_module, "has_cpu_flash", lambda query: False)
    plain_out, plain_lse = tree_attention(*attend)
    patch.undo()
    torch.testing.assert_close(out, plain_out)
    torch.testing.assert_close(lse, plain_lse)
    assert not out[:, :, 0].any()
    assert (lse[:, :, 0] == -torch.inf).all()
    prefix = prefix_attention(p.query, p.prefix_keys, p.prefix_values, None, 0.3)
    assert torch.equal(merge(prefix, (out, lse))[:, :, 0], prefix[0][:, :, 0])


def test_the_mask_matters() -> None:
    """The control: with another mask the same comparison fails."""
    problem = random_problem(1, 2, 2, 2, 12, 12, 50, 64)
    expected = softmax_attention(problem)
    problem.mask = torch.ones_like(problem.mask)
    assert (run(problem) - expected).abs().max() > 1e-2


def test_masked_attention_is_the_same_over_all_keys() -> None:
    p = random_problem(3, 2, 2, 3, 7, 20, 1, 32)
    out = masked_attention(p.query, p.tree_keys, p.tree_values, p.mask)
    expected, _ = tree_attention(p.query, p.tree_keys, p.tree_values, p.mask, 32**-0.5)
    torch.testing.assert_close(out, expected)


def test_no_bias_where_all_keys_count() -> None:
    assert key_bias([5, 5], 5, torch.zeros(1)) is None
    bias = key_bias([2, 3], 3, torch.zeros(1))
    assert bias is not None
    assert bias.flatten(1).tolist() == [[0, 0, -torch.inf], [0, 0, 0]]
