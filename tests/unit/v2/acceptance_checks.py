"""Walks and moves of Model Runner V2's acceptance, by the kernels that do them.

Not collected by its name: ``test_interpreted`` runs it in Triton's interpreter.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from longspec_plugin.vllm.v2.acceptance import TreeRejectionSampler
from longspec_plugin.vllm.v2.attention import halves
from longspec_plugin.vllm.v2.timing import Timing
from longspec_plugin.vllm.v2.topology import TreeTopology

from .conftest import CPU


def sampler(topology: TreeTopology) -> Any:
    made = object.__new__(TreeRejectionSampler)
    made.attach(SimpleNamespace(timing=Timing(CPU, None)), topology, halves)
    return made


def test_the_walk_takes_only_what_was_scheduled_and_may_be_accepted(topology: TreeTopology) -> None:
    walker, slots = sampler(topology), torch.tensor([3, 1])
    drafted = torch.tensor([1, 5, 6, 7, 8, 2, 9, 4])
    drawn = torch.tensor([6, 0, 8, 0, 3, 9, 4, 1])  # 6, then 8, then 3; 9, 4, then 1
    walk = walker.walk(drawn, drafted, torch.tensor([0, 5, 8]), slots)
    assert walk.tokens.tolist() == [[6, 8, 3], [9, 4, 1]]
    assert walk.rows.tolist() == [[0, 2, 4], [0, 1, 2]]
    denied = drafted.clone()
    denied[[4, 6]] = -1  # a grammar, or a step that begins within the prompt
    walk = walker.walk(drawn, denied, torch.tensor([0, 5, 8]), slots)
    assert walk.tokens.tolist() == [[6, 8, -1], [9, -1, -1]]
    walk = walker.walk(drawn[:6], drafted[:6], torch.tensor([0, 3, 6]), slots)  # two nodes each
    assert walk.rows.tolist()[0] == [0, 2, -1]
    topology.sizes[1] = 0  # not drafted: what lies in its drafts is no tree
    walk = walker.walk(drawn, drafted, torch.tensor([0, 5, 8]), slots)
    assert walk.accepted.tolist() == [2, 0]


def test_accepted_kv_moves_behind_its_root(topology: TreeTopology) -> None:
    mover = sampler(topology)
    cache = torch.arange(4 * 2 * 16 * 6, dtype=torch.float32).view(4, 2, 16, 6)
    before = cache.clone()
    slots = torch.randperm(64)[:10]
    mover.take_caches([cache])
    mover.runner = SimpleNamespace(block_tables=SimpleNamespace(slot_mappings=slots[None]))
    rows = torch.tensor([[0, 2, 4], [0, 1, -1]])
    mover.move(rows, torch.tensor([0, 5]), torch.arange(2, 10))  # two other rows lie in front
    at = [(int(slot) // 16, int(slot) % 16) for slot in slots]

    def held(cache: torch.Tensor, row: int) -> torch.Tensor:
        page, place = at[row]
        return cache[page, :, place]

    assert torch.equal(held(cache, 2 + 1), held(before, 2 + 2))
    assert torch.equal(held(cache, 2 + 2), held(before, 2 + 4))
    for row in (0, 1, 2, 5, 6, 7, 8, 9):
        assert torch.equal(held(cache, row), held(before, row))
