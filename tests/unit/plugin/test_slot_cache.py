"""The CPU kernel over SGLang's token pool, against the blocks that hold the same KV."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longspec_plugin.sglang import cpu_cache
from longspec_plugin.sglang.cpu_cache import move_slots, tree_attention
from longspec_plugin.tree_rows import TreeRows
from longspec_plugin.vllm.v1.cache import views

from .test_cpu_cache import TOLERANCE, exact, problem


def as_slots(cache: Tensor, rows: TreeRows) -> tuple[Tensor, Tensor, TreeRows]:
    """The same KV in scattered slots, and the table that names them."""
    keys, values = (part.transpose(1, 2).flatten(0, 1) for part in views(cache))
    scattered = torch.randperm(len(keys))
    block = cache.shape[2]
    slots = (rows.table[:, :, None].long() * block + torch.arange(block)).flatten(1)
    pools = [
        torch.empty_like(part, memory_format=torch.contiguous_format) for part in (keys, values)
    ]
    for pool, part in zip(pools, (keys, values), strict=True):
        pool[scattered] = part
    return pools[0], pools[1], replace(rows, table=scattered[slots].int())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 3))
def test_kernel_is_masked_softmax(dtype: torch.dtype, seed: int, batch: int) -> None:
    query, cache, rows = problem(seed, dtype, batch)
    expected = exact(query, cache, rows)
    keys, values, in_slots = as_slots(cache, rows)
    for attend in (tree_attention, cpu_cache.tree_attention_torch):
        out = torch.full(query.shape, float("nan"), dtype=dtype)
        attend(query, keys, values, out, in_slots, query.shape[2] ** -0.5)
        assert (out.double() - expected).abs().max() < TOLERANCE[dtype]


def test_garbage_in_unused_slots_does_no_harm() -> None:
    query, cache, rows = problem(3, torch.float32, 2)
    keys, values, in_slots = as_slots(cache, rows)
    clean, dirty = torch.empty_like(query), torch.empty_like(query)
    tree_attention(query, keys, values, clean, in_slots, 0.1)
    used = {
        int(slot)
        for b, row in enumerate(in_slots.table_row)
        for slot in in_slots.table[row, : int(rows.prefix[b] + rows.tail[b])]
    }
    unused = [slot for slot in range(len(keys)) if slot not in used]
    keys[unused] = values[unused] = float("nan")
    tree_attention(query, keys, values, dirty, in_slots, 0.1)
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize("native", [True, False])
def test_moving_slots(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(cpu_cache, "library", lambda: None)
    buffers = [torch.randn(40, 3, 16) for _ in range(4)]
    before = [buffer.clone() for buffer in buffers]
    source, target = torch.tensor([7, 9, 12]), torch.tensor([6, 7, 8])
    move_slots(buffers, source, target)
    for buffer, old in zip(buffers, before, strict=True):
        old[target] = old[source]
        assert torch.equal(buffer, old)
