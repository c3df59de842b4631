"""Checks of the paged kernel on any device, against plain torch.

Not collected by its name: ``test_paged_triton`` runs it in Triton's interpreter, ``tests/gpu`` on a
GPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from proposers.attention import paged_triton
from proposers.attention.paged_triton import LEAST_SPLIT, PagedKV

from ..launches import count_launches
from .steps import FENCE, Layout, Step, answer, keys_dense, keys_transposed, paged, random_step

TREES = [[-1, -1, 0, 0, 1, 2, 2, 5], [-1, 0, 1], [], [-1, -1, -1, -1]]
PREFIXES = [37, 0, 90, 16]
LONG = [3 * LEAST_SPLIT + 1, 0, LEAST_SPLIT, 2 * LEAST_SPLIT - 1]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
SIZES = pytest.mark.parametrize(
    ("kv_heads", "groups", "dim"), [(4, 1, 32), (3, 3, 64), (2, 4, 80), (1, 16, 128)]
)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def step_of(device: str, prefixes: list[int] = PREFIXES) -> Step:
    return random_step(TREES, prefixes, 2, 2, 32, device=device)


@DTYPES
@SIZES
@pytest.mark.parametrize("layout", [keys_dense, keys_transposed])
def test_trees_behind_prefixes(
    device: str, dtype: torch.dtype, kv_heads: int, groups: int, dim: int, layout: Layout
) -> None:
    sizes = (kv_heads, groups, dim)
    step = random_step(TREES, PREFIXES, *sizes, dtype=dtype, device=device, layout=layout)
    found, expected = paged(step), answer(step)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=1e-2)
    assert (found[expected == FENCE] == FENCE).all()


@DTYPES
@pytest.mark.parametrize("splits", [2, 5])
@pytest.mark.parametrize("dim", [32, 80])
def test_split_prefixes(device: str, dtype: torch.dtype, splits: int, dim: int) -> None:
    """Requests of three parts, none, one and two; some have fewer than may be."""
    step = random_step(TREES, LONG, 2, 4, dim, dtype=dtype, device=device)
    found, expected = paged(step, splits=splits), answer(step)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=1e-2)
    assert (found[expected == FENCE] == FENCE).all()


@pytest.mark.parametrize("splits", [1, 3])
def test_the_mask_is_read_by_slot(device: str, splits: int) -> None:
    """Controls: another slot's mask, and a causal one, give other answers."""
    step = step_of(device, PREFIXES if splits == 1 else LONG)
    assert step.rows.mask is not None
    others = [
        replace(step.rows, slots=step.rows.slots.roll(1)),
        replace(step.rows, mask=torch.ones_like(step.rows.mask).tril()),
    ]
    for changed in others:
        assert (paged(step, changed, splits=splits) - answer(step)).abs().max() > 1e-2


@pytest.mark.parametrize("splits", [1, 3])
def test_requests_that_have_no_rows_are_left_alone(device: str, splits: int) -> None:
    step = step_of(device)
    none = replace(step.rows, counts=torch.zeros_like(step.rows.counts))
    assert (paged(step, none, splits=splits) == FENCE).all()


@pytest.mark.parametrize("splits", [1, 3])
@DTYPES
@SIZES
def test_draft_rows_see_the_prefix_alone(
    device: str, dtype: torch.dtype, kv_heads: int, groups: int, dim: int, splits: int
) -> None:
    """Compared with trees whose mask is empty."""
    prefixes = PREFIXES if splits == 1 else LONG
    trees = [[-1] * 4] * len(prefixes)
    step = random_step(trees, prefixes, kv_heads, groups, dim, dtype=dtype, device=device)
    assert step.rows.mask is not None
    blind = replace(step, rows=replace(step.rows, mask=torch.zeros_like(step.rows.mask)))
    own = [step.tree(b) for b in range(len(prefixes))]
    query = torch.stack([step.query[rows] for rows in own])
    kv = PagedKV(step.keys, step.values, step.rows.prefix, step.rows.table, step.scale, splits)
    expected = answer(blind).nan_to_num(0.0)  # nothing is seen by a request of one token
    expected = torch.stack([expected[rows] for rows in own])
    out = kv.attend(query).double().cpu()
    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=1e-2)


def test_launches_for_any_batch(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = count_launches(monkeypatch, paged_triton)
    for batch in (1, 4):
        step = random_step(TREES[:batch], LONG[:batch], 2, 2, 32, device=device)
        paged(step)
        paged(step, splits=3)
    whole = [(1, 2, 1), (4, 2, 1)]
    parts = [[(1, 2, 3), (1, 2, 2)], [(4, 2, 3), (4, 2, 2)]]
    assert launches == [whole[0], *parts[0], whole[1], *parts[1]]
