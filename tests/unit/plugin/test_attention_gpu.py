"""The GPU adapter's bookkeeping, with vLLM's Triton kernel replaced by its definition in torch.

The kernel itself needs a GPU; what is checked here is which rows, slots and biases it is given.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("vllm", reason="needs the engine: make setup")

from longspec_plugin.vllm import attention_gpu
from proposers.tree import ancestor_mask, from_parents

BLOCK, HEADS, KV_HEADS, DIM = 16, 4, 2, 32
SCALE = DIM**-0.5
KERNEL = inspect.signature(attention_gpu.unified_attention)


def paged_attention(**given: Any) -> None:
    """`unified_attention` as defined: causal by place, plus a bias among the queries."""
    KERNEL.bind(**given)  # raises if a name is wrong or an argument is missing
    starts, lengths = given["cu_seqlens_q"].tolist(), given["seqused_k"].tolist()
    for b, length in enumerate(lengths):
        rows = slice(starts[b], starts[b + 1])
        count = starts[b + 1] - starts[b]
        at = torch.arange(length)
        where = given["block_table"][b, at // BLOCK].long(), at % BLOCK
        keys, values = given["k"][where], given["v"][where]
        for i in range(count):
            bias = torch.zeros(length)
            bias[length - count :] = given["qq_bias"][i, :count]
            bias[length - count + i + 1 :] = float("-inf")
            for head in range(HEADS):
                kv = head // (HEADS // KV_HEADS)
                scores = keys[:, kv] @ given["q"][rows][i, head] * SCALE + bias
                given["out"][rows][i, head] = scores.softmax(0) @ values[:, kv]


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_gpu, "unified_attention", paged_attention)


def dense(query: Tensor, cache: Tensor, table: Tensor, places: list[int]) -> Tensor:
    at = torch.tensor(places)
    both = cache.transpose(1, 2)[table[at // BLOCK].long(), at % BLOCK]
    keys, values = both.split(DIM, dim=-1)
    groups = HEADS // KV_HEADS
    scores = torch.einsum("hd,shd->hs", query, keys.repeat_interleave(groups, 1)) * SCALE
    return torch.einsum("hs,shd->hd", scores.softmax(-1), values.repeat_interleave(groups, 1))


def test_tree_rows_see_their_path() -> None:
    torch.manual_seed(0)
    cache = torch.randn(8, KV_HEADS, BLOCK, 2 * DIM)
    table = torch.randperm(8)[None].int()
    trees = from_parents([[7, 8, 9, 5]], [[-1, -1, 0, 2]])
    mask, prefix = ancestor_mask(trees)[0], 37
    query, out = torch.randn(7, HEADS, DIM), torch.zeros(7, HEADS, DIM)
    tree = attention_gpu.GPUTree(2, 5, torch.tensor([prefix + 5]), prefix + 5, table, mask)
    tree.attend(query, cache, out, SCALE)
    for row in range(5):
        places = [*range(prefix), *(prefix + c for c in mask[row].nonzero().flatten().tolist())]
        torch.testing.assert_close(out[2 + row], dense(query[2 + row], cache, table[0], places))
    assert not out[:2].any()


def test_draft_rows_see_the_prefix_alone() -> None:
    torch.manual_seed(1)
    cache = torch.randn(10, KV_HEADS, BLOCK, 2 * DIM)
    table = torch.randperm(10).view(2, 5).int()
    prefix = torch.tensor([41, 7])
    kv = attention_gpu.GPUTargetKV(cache, prefix, 41, table, SCALE)
    query = torch.randn(2, 3, HEADS, DIM)
    out = kv.attend(query)
    for b in range(2):
        for row in range(3):
            expected = dense(query[b, row], cache, table[b], list(range(int(prefix[b]))))
            torch.testing.assert_close(out[b, row], expected)
