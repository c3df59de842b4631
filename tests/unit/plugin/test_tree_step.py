"""Which rows of a step our CPU kernel attends in Model Runner V1: trees alone, or all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longspec_plugin.tree_rows import TreeRows
from longspec_plugin.vllm.v1.device import CPUDevice
from proposers.tree import DraftTrees, ancestor_mask, from_parents

from .test_cpu_cache import exact

LENGTHS = torch.tensor([3, 40, 1, 5])
"""Rows of a tree, of a prompt, of a request without drafts, and of another tree."""
PREFIX = torch.tensor([50, 0, 70, 33])
TREES = [[-1, -1], [], [], [-1, 0, 0, 1]]


def step(trees: DraftTrees | None, attends_all: bool) -> tuple[Any, torch.Tensor]:
    """Of a runner that holds these requests; and its block table."""
    ends = torch.cat([LENGTHS.new_zeros(1), LENGTHS.cumsum(0)]).int()
    table = torch.randperm(16, generator=torch.Generator().manual_seed(0)).view(4, 4).int()
    block_table = SimpleNamespace(get_cpu_tensor=lambda: table)
    batch = SimpleNamespace(
        num_reqs=4, num_computed_tokens_cpu_tensor=PREFIX.int(), block_table=[block_table]
    )
    runner = SimpleNamespace(query_start_loc=SimpleNamespace(cpu=ends), input_batch=batch)
    device = CPUDevice(None)
    device.attends_all = attends_all
    return device.tree_step(runner, trees), table


@pytest.mark.parametrize("attends_all", [False, True])
@pytest.mark.parametrize("drafted", [False, True])
def test_rows_that_are_ours_see_what_they_should(attends_all: bool, drafted: bool) -> None:
    trees = from_parents([[7] * len(parents) for parents in TREES], TREES) if drafted else None
    found, table = step(trees, attends_all)
    if not drafted and not attends_all:
        assert found is None
        return
    seen = torch.ones(40, 40, dtype=torch.uint8).tril().repeat(4, 1, 1)
    if trees is not None:
        for request in (0, 3):
            size = int(LENGTHS[request])
            seen[request, :size, :size] = ancestor_mask(trees)[request, :size, :size]
    random = torch.Generator().manual_seed(1)
    cache = torch.randn(16, 2, 32, 64, generator=random)
    query = torch.randn(int(LENGTHS.sum()), 4, 32, generator=random)
    first = torch.cat([LENGTHS.new_zeros(1), LENGTHS.cumsum(0)])
    whole = TreeRows(first, PREFIX, LENGTHS, seen, table, torch.arange(4))
    out = torch.full_like(query, float("nan"))
    found.attend(query, cache, out, 32**-0.5)
    ours = torch.ones(len(query), dtype=torch.bool)
    if not attends_all:
        ours[3:43] = False  # the prompt's
    assert out.isnan().any(-1).any(-1).tolist() == (~ours).tolist()
    assert (out.double() - exact(query, cache, whole))[ours].abs().max() < 3e-6
