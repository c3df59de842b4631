"""Checks of the tree kernel on the ragged trees of a step, on any device.

Not collected by its name: ``test_tree_triton`` runs it in Triton's interpreter, ``tests/gpu`` on a
GPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from proposers.attention import tree_triton
from proposers.attention.tree_triton import ragged_tree_attention_triton

from ..launches import count_launches
from .steps import FENCE, Step, answer, flash_prefix, hybrid, random_step

TREES = [[-1, -1, 0, 0, 1, 2, 2, 5], [-1, 0, 1], [], [-1] * 4, list(range(-1, 35))]
PREFIXES = [37, 0, 90, 16, 5]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
SIZES = pytest.mark.parametrize(
    ("kv_heads", "groups", "dim"), [(4, 1, 32), (3, 3, 64), (2, 4, 80), (1, 8, 128), (1, 2, 256)]
)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def step_of(device: str, dtype: torch.dtype = torch.float32, *sizes: int) -> Step:
    return random_step(TREES, PREFIXES, *(sizes or (2, 3, 32)), dtype=dtype, device=device)


@DTYPES
@SIZES
def test_ragged_trees_merged_with_prefixes(
    device: str, dtype: torch.dtype, kv_heads: int, groups: int, dim: int
) -> None:
    step = step_of(device, dtype, kv_heads, groups, dim)
    found, expected = hybrid(step), answer(step)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=1e-2)
    assert (found[expected == FENCE] == FENCE).all()


@pytest.mark.parametrize("wrong", ["slots", "causal", "no prefix"])
def test_ragged_trees_depend_on_all_of_it(device: str, wrong: str) -> None:
    """Controls: another slot's mask, a causal one, and no merge give other answers."""
    step = step_of(device)
    assert step.rows.mask is not None
    changed = {
        "slots": {"slots": step.rows.slots.roll(1)},
        "causal": {"mask": torch.ones_like(step.rows.mask).tril()},
        "no prefix": {},
    }[wrong]
    found = hybrid(step, replace(step.rows, **changed), no_prefix=wrong == "no prefix")
    assert (found - answer(step)).abs().max() > 1e-2


def test_ragged_output_in_place_of_the_prefix(device: str) -> None:
    """O of the prefix is read where the answer is written; rows of no request keep it."""
    step = step_of(device)
    out, lse = flash_prefix(step)
    before, expected = out.clone().cpu().double(), answer(step)
    parts = (step.query, step.step_keys, step.step_values)
    ragged_tree_attention_triton(*parts, out, step.rows, step.scale, (out, lse))
    expected = torch.where(expected == FENCE, before, expected)
    torch.testing.assert_close(out.double().cpu(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("nothing", [float("inf"), float("-inf"), float("nan")])
def test_ragged_rows_without_keys_in_front(device: str, nothing: float) -> None:
    """What FlashAttention and others say of no keys, and an output that means nothing."""
    step = random_step(TREES, [0] * len(TREES), 2, 3, 32, device=device)
    out = torch.full_like(step.query, float("nan"))
    lse = torch.full((step.query.shape[1], len(step.query)), nothing, device=device)
    parts = (step.query, step.step_keys, step.step_values)
    ragged_tree_attention_triton(*parts, out, step.rows, step.scale, (out, lse))
    expected = answer(step)
    expected[expected == FENCE] = float("nan")
    torch.testing.assert_close(out.double().cpu(), expected, atol=2e-6, rtol=0, equal_nan=True)


def test_ragged_requests_without_rows_are_left_alone(device: str) -> None:
    step = step_of(device)
    expected = answer(step)
    counts = step.rows.counts.clone()
    counts[[0, 3]] = 0
    for b in (0, 3):
        expected[step.tree(b)] = FENCE
    found = hybrid(step, replace(step.rows, counts=counts))
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_ragged_strides_are_read(device: str) -> None:
    """Heads of queries and outputs amid other memory, an LSE stored by rows."""
    step = step_of(device)
    out, lse = flash_prefix(step)
    wide = torch.full((len(out), 3 * out.shape[1], out.shape[2] + 3), FENCE, device=device)
    target = wide[:, ::3, :-3]
    parts = (step.query, step.step_keys.clone(), step.step_values)
    prefix = (torch.stack([out, out], -1)[..., 0], lse.T.contiguous().T)
    ragged_tree_attention_triton(*parts, target, step.rows, step.scale, prefix)
    torch.testing.assert_close(target.double().cpu(), answer(step), atol=2e-6, rtol=0)
    assert int((wide != FENCE).sum()) == int(step.rows.counts.sum()) * out[0].numel()


def test_one_launch_for_any_batch(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = count_launches(monkeypatch, tree_triton)
    for batch in (1, 5):
        hybrid(random_step(TREES[:batch], PREFIXES[:batch], 2, 3, 32, device=device))
    assert launches == [(2, 2), (10, 7)]
