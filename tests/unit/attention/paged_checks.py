"""Checks of the paged kernel on any device, against plain torch.

Not collected by its name: ``test_paged_triton`` runs it in Triton's interpreter, ``tests/gpu`` on a
GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from proposers.attention.paged_triton import PagedKV, PagedRows, paged_attention
from proposers.tree import ancestor_mask, from_parents

PAGE, PAGES = 16, 40
TREES = [[-1, -1, 0, 0, 1, 2, 2, 5], [-1, 0, 1], [], [-1, -1, -1, -1]]
PREFIXES = [37, 0, 90, 16]
SLOTS = [4, 0, 6, 2]
FENCE = 7.0
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
SIZES = pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"), [(4, 4, 32), (9, 3, 64), (8, 2, 80), (16, 1, 128)]
)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@dataclass(frozen=True)
class Case:
    """A step of four requests with other rows before, between and behind theirs."""

    query: Tensor
    keys: Tensor
    values: Tensor
    rows: PagedRows

    @property
    def scale(self) -> float:
        return self.query.shape[-1] ** -0.5


def keys_dense(memory: Tensor) -> tuple[Tensor, Tensor]:
    """As vLLM's Triton backend stores them: ``[pages, page, kv_heads, K and V]``."""
    both = memory.transpose(1, 2).contiguous().transpose(1, 2)
    half = memory.shape[-1] // 2
    return both[..., :half], both[..., half:]


def keys_transposed(memory: Tensor) -> tuple[Tensor, Tensor]:
    """As vLLM's CPU backend stores them: keys of a page along its tokens."""
    half = memory.shape[-1] // 2
    keys = memory[..., :half].transpose(2, 3).contiguous().transpose(2, 3)
    return keys, memory[..., half:].contiguous()


def random_case(
    device: str, dtype: torch.dtype, heads: int, kv_heads: int, dim: int, layout: str
) -> Case:
    torch.manual_seed(heads)
    trees = from_parents([[0] * len(tree) for tree in TREES], TREES)
    width = 1 + trees.max_nodes
    mask = torch.randint(0, 2, (7, width, width), dtype=torch.uint8)  # other slots: anything
    mask[SLOTS] = ancestor_mask(trees).to(torch.uint8)
    counts = 1 + trees.sizes
    first = 3 + counts.cumsum(0) - counts + torch.arange(4)
    memory = torch.randn(PAGES, kv_heads, PAGE, 2 * dim)
    keys, values = (keys_dense if layout == "dense" else keys_transposed)(memory)
    table = torch.randperm(PAGES)[:32].view(4, 8)
    numbers = (first, counts, torch.tensor(PREFIXES), table)
    parts = [part.to(device, torch.int32) for part in numbers]
    slots = torch.tensor(SLOTS, device=device)
    rows = PagedRows(width, *parts, slots, mask.to(device))
    query = torch.randn(30, heads, dim)
    given = (part.to(device, dtype) for part in (query, keys, values))
    return Case(*given, rows)


def answer(case: Case) -> Tensor:
    """By definition, in float64; rows of no request are fenced."""
    out = torch.full(case.query.shape, FENCE, dtype=torch.float64)
    query, keys, values = (part.double().cpu() for part in (case.query, case.keys, case.values))
    rows = case.rows
    for b in range(len(rows.prefix)):
        first, count, prefix = (int(part[b]) for part in (rows.first, rows.counts, rows.prefix))
        own = slice(first, first + count)
        seen = torch.ones(count, prefix + count, dtype=torch.bool)
        assert rows.mask is not None
        seen[:, prefix:] = rows.mask[rows.slots[b], :count, :count].bool().cpu()
        out[own] = attend(query[own], keys, values, rows.table[b].cpu(), seen)
    return out


def attend(query: Tensor, keys: Tensor, values: Tensor, table: Tensor, seen: Tensor) -> Tensor:
    """``[W, heads, d]`` over the first keys of ``table``, by ``seen [W, keys]``."""
    groups, count = query.shape[1] // keys.shape[1], seen.shape[1]
    pages = (part[table.long()].transpose(1, 2).flatten(0, 1) for part in (keys, values))
    k, v = (part[:count].repeat_interleave(groups, 1) for part in pages)
    scores = torch.einsum("whd,khd->hwk", query, k) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("hwk,khd->whd", weights, v)


def found(case: Case) -> Tensor:
    out = torch.full_like(case.query, FENCE)
    paged_attention(case.query, case.keys, case.values, out, case.rows, case.scale)
    return out.double().cpu()


@DTYPES
@SIZES
@pytest.mark.parametrize("layout", ["dense", "transposed"])
def test_ragged_trees_behind_prefixes(
    device: str, dtype: torch.dtype, heads: int, kv_heads: int, dim: int, layout: str
) -> None:
    case = random_case(device, dtype, heads, kv_heads, dim, layout)
    expected = answer(case)
    torch.testing.assert_close(found(case), expected, atol=TOLERANCE[dtype], rtol=1e-2)
    assert (found(case)[expected == FENCE] == FENCE).all()


def test_the_mask_is_read_by_slot(device: str) -> None:
    """Controls: another slot's mask, and a causal one, give other answers."""
    case = random_case(device, torch.float32, 4, 2, 32, "dense")
    rows = case.rows
    assert rows.mask is not None
    others = [
        replace(rows, slots=rows.slots.roll(1)),
        replace(rows, mask=torch.ones_like(rows.mask).tril()),
    ]
    for changed in others:
        assert not torch.allclose(found(replace(case, rows=changed)), answer(case), atol=1e-2)


def test_requests_without_rows_are_left_alone(device: str) -> None:
    case = random_case(device, torch.float32, 4, 2, 32, "dense")
    none = replace(case.rows, counts=torch.zeros_like(case.rows.counts))
    assert (found(replace(case, rows=none)) == FENCE).all()


@DTYPES
@SIZES
def test_draft_rows_see_the_prefix_alone(
    device: str, dtype: torch.dtype, heads: int, kv_heads: int, dim: int
) -> None:
    case = random_case(device, dtype, heads, kv_heads, dim, "dense")
    query = torch.randn(4, 5, heads, dim, device=device, dtype=dtype)
    kv = PagedKV(case.keys, case.values, case.rows.prefix, case.rows.table, case.scale)
    out = kv.attend(query).double().cpu()
    keys, values = case.keys.double().cpu(), case.values.double().cpu()
    for b, prefix in enumerate(PREFIXES):
        if not prefix:  # a request with one token
            assert not out[b].any()
            continue
        seen = torch.ones(5, prefix, dtype=torch.bool)
        table = case.rows.table[b].cpu()
        expected = attend(query[b].double().cpu(), keys, values, table, seen)
        torch.testing.assert_close(out[b], expected, atol=TOLERANCE[dtype], rtol=1e-2)
