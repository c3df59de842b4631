"""The CPU kernels against float64 softmax on ragged shapes, and against vLLM's own layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longspec_plugin import tree_rows
from longspec_plugin.native import library
from longspec_plugin.tree_rows import CHAIN, NewTokens, TreeRows, step_rows
from longspec_plugin.vllm.v1 import cache as cpu_cache
from longspec_plugin.vllm.v1.cache import move_slots, tree_attention, views

TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 1.2e-2}


def problem(seed: int, dtype: torch.dtype, batch: int) -> tuple[Tensor, Tensor, TreeRows]:
    """Random sizes: heads, groups, head size, block size, prefixes and trees."""
    random = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=random))

    kv_heads, group, dim, block = pick(1, 3), pick(1, 4), 16 * pick(2, 8), 32 * pick(1, 3)
    prefix = torch.tensor([pick(0, 200) for _ in range(batch)])
    tail = torch.tensor([pick(1, 20) for _ in range(batch)])
    blocks = int((prefix + tail).max()) // block + 2
    table = torch.randperm(batch * blocks, generator=random).view(batch, blocks).int()
    cache = torch.randn(batch * blocks, kv_heads, block, 2 * dim, generator=random).to(dtype)
    width = int(tail.max())
    mask = torch.rand(batch, width, width, generator=random) < 0.5
    mask |= torch.eye(width, dtype=torch.bool)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), tail.cumsum(0)])
    rows = int(first[-1])
    query = torch.randn(rows, 3 * kv_heads * group, dim, generator=random).to(dtype)
    query = query[:, : kv_heads * group]  # rows with a stride, as vLLM's fused projection gives
    order = torch.randperm(batch, generator=random)
    return query, cache, TreeRows(first, prefix, tail, mask.to(torch.uint8), table, order)


def exact(query: Tensor, cache: Tensor, rows: TreeRows) -> Tensor:
    """float64, one row and one head at a time."""
    keys, values = (part.double() for part in views(cache))
    heads, dim = query.shape[1:]
    block = cache.shape[2]
    out = torch.zeros(query.shape, dtype=torch.float64)
    for b in range(len(rows.prefix)):
        for i, line in enumerate(range(int(rows.first_row[b]), int(rows.first_row[b + 1]))):
            visible = list(range(int(rows.prefix[b])))
            own = rows.mask[b, i, : int(rows.tail[b])].nonzero().flatten().tolist()
            at = torch.tensor(visible + [int(rows.prefix[b]) + slot for slot in own])
            where = rows.table[rows.table_row[b], at // block].long(), at % block
            for head in range(heads):
                kv = head // (heads // cache.shape[1])
                scores = keys[where[0], kv, where[1]] @ query[line, head].double() * dim**-0.5
                out[line, head] = scores.softmax(0) @ values[where[0], kv, where[1]]
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 3))
def test_kernel_is_masked_softmax(dtype: torch.dtype, seed: int, batch: int) -> None:
    query, cache, rows = problem(seed, dtype, batch)
    expected = exact(query, cache, rows)
    for attend in (tree_attention, cpu_cache.tree_attention_torch):
        out = torch.full(query.shape, float("nan"), dtype=dtype)
        attend(query, cache, out, rows, query.shape[2] ** -0.5)
        assert (out.double() - expected).abs().max() < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 3))
def test_new_tokens_are_seen_and_stay(dtype: torch.dtype, seed: int, batch: int) -> None:
    """Tree slots are garbage before; their tokens come with the query, one of them without a slot,
    as parts of a fused projection."""
    query, cache, rows = problem(seed, dtype, batch)
    kv_heads, block, dim = cache.shape[1], cache.shape[2], query.shape[2]
    table = rows.table[rows.table_row]
    at = [rows.prefix[b] + torch.arange(int(rows.tail[b])) for b in range(batch)]
    slots = torch.cat(
        [table[b, where // block] * block + where % block for b, where in enumerate(at)]
    )
    slots = slots.long()
    slots[-1] = -1
    fused = torch.randn(
        len(query), 4 * kv_heads, dim, generator=torch.Generator().manual_seed(seed)
    )
    new = NewTokens(*fused.to(dtype)[:, kv_heads : 3 * kv_heads].chunk(2, dim=1), slots)
    written = cache.clone()
    for part, tokens in zip(views(written), (new.keys, new.values), strict=True):
        part[slots[:-1] // block, :, slots[:-1] % block] = tokens[:-1]
    expected = exact(query, written, rows)
    for kernels in (True, False):
        found, out = cache.clone(), torch.full(query.shape, float("nan"), dtype=dtype)
        with pytest.MonkeyPatch.context() as patch:
            if not kernels:
                patch.setattr(tree_rows, "library", lambda: None)
            tree_attention(query, found, out, rows, dim**-0.5, new)
        assert torch.equal(found, written)
        untouched = cache.clone()  # of a layer that has no tokens of its own, in the same step
        tree_attention(query, untouched, torch.empty_like(query), rows, dim**-0.5)
        assert torch.equal(untouched, cache)
        assert (out.double() - expected).abs().max() < TOLERANCE[dtype]


def test_the_native_kernel_is_what_was_tested() -> None:
    assert library() is not None, "no C++ compiler: only the torch form was tested"


def test_garbage_in_unused_slots_does_no_harm() -> None:
    query, cache, rows = problem(3, torch.float32, 1)
    used = int(rows.prefix[0] + rows.tail[0])
    clean, dirty = torch.empty_like(query), torch.empty_like(query)
    tree_attention(query, cache, clean, rows, 0.1)
    block = cache.shape[2]
    keys, values = views(cache)
    last = int(rows.table[0, (used - 1) // block])
    keys[last, :, (used - 1) % block + 1 :] = float("nan")
    values[last, :, (used - 1) % block + 1 :] = float("nan")
    tree_attention(query, cache, dirty, rows, 0.1)
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_moves(dtype: torch.dtype) -> None:
    caches = [torch.randn(3, 2, 32, 64).to(dtype) for _ in range(2)]
    before = [[part.clone() for part in views(cache)] for cache in caches]
    source, target = torch.tensor([5, 40, 70]), torch.tensor([4, 5, 33])
    move_slots(caches, source, target)
    for cache, old in zip(caches, before, strict=True):
        for part, was in zip(views(cache), old, strict=True):
            for s, t in zip(source.tolist(), target.tolist(), strict=True):
                assert torch.equal(part[t // 32, :, t % 32], was[s // 32, :, s % 32])
            untouched = [slot for slot in range(96) if slot not in target.tolist()]
            at = torch.tensor(untouched)
            assert torch.equal(part[at // 32, :, at % 32], was[at // 32, :, at % 32])


def test_vllm_stores_kv_where_it_is_read() -> None:
    platforms = pytest.importorskip("vllm.platforms", reason="needs the engine: make setup")
    if not platforms.current_platform.is_cpu():
        pytest.skip("vLLM's CPU operators are in its CPU build only")
    platforms.current_platform.import_kernels()
    for dtype in (torch.float32, torch.bfloat16):
        for head_dim in (32, 64, 96, 128):
            cpu_cache.check_layout(dtype, head_dim, 64)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), lengths=st.lists(st.integers(1, 70), min_size=1, max_size=3))
def test_rows_of_prompts_are_chains_beside_trees(seed: int, lengths: list[int]) -> None:
    """Every other request has a tree, where it is small; the others see what is before each row."""
    random = torch.Generator().manual_seed(seed)
    count, own = len(lengths), torch.tensor(lengths)
    carries = (own <= 20) & (torch.arange(count) % 2 == seed % 2)
    prefix = torch.randint(0, 150, (count,), generator=random)
    table = torch.randperm(count * 8, generator=random).view(count, 8).int()
    mask = torch.rand(count, 20, 20, generator=random) < 0.5
    mask |= torch.eye(20, dtype=torch.bool)
    rows = step_rows(own, prefix, table, carries, mask)
    assert int(rows.tail.max()) <= max(CHAIN, 20)
    cache = torch.randn(count * 8, 2, 32, 64, generator=random)
    query = torch.randn(int(own.sum()), 4, 32, generator=random)
    wide = torch.ones(70, 70, dtype=torch.uint8).tril().repeat(count, 1, 1)
    wide[carries, :20, :20] = mask[carries].to(torch.uint8)
    first = torch.cat([own.new_zeros(1), own.cumsum(0)])
    whole = TreeRows(first, prefix, own, wide, table, torch.arange(count))
    out = torch.full_like(query, float("nan"))
    tree_attention(query, cache, out, rows, 32**-0.5)
    assert (out.double() - exact(query, cache, whole)).abs().max() < TOLERANCE[query.dtype]
