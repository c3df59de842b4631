"""Checks of the kernel that writes trees' shapes on any device, against plain torch.

Not collected by its name: ``test_topology_triton`` runs it in Triton's interpreter, ``tests/gpu``
on a GPU.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from proposers.topology_triton import write_topology
from proposers.tree import DraftTrees, ancestor_mask, from_parents

SLOTS, MOST, OLD = 6, 70, 9


def trees_of(lists: list[list[int]], device: str) -> DraftTrees:
    return from_parents([[0] * len(one) for one in lists], lists).to(torch.device(device))


def random_lists(count: int, nodes: int, seed: int) -> list[list[int]]:
    """Trees of any shape, parents first."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [int(torch.randint(-1, i, (), generator=generator)) for i in range(nodes - b)]
        for b in range(count)
    ]


def written(trees: DraftTrees, slots: Tensor, kernel: bool) -> list[Tensor]:
    """Parents, depths, sizes and mask of all slots, which held something else."""
    room, device = (SLOTS, MOST), slots.device
    parents, depths = torch.full((2, *room), OLD, device=device)
    sizes = torch.full((SLOTS,), OLD, device=device)
    mask = torch.full((SLOTS, MOST + 1, MOST + 1), OLD, dtype=torch.uint8, device=device)
    held, width = (parents, depths, sizes, mask), trees.max_nodes
    if kernel:
        write_topology(trees, slots, *held)
    else:
        parents[slots, :width], depths[slots, :width] = trees.parents, trees.depths
        sizes[slots] = trees.sizes
        mask[slots, : 1 + width, : 1 + width] = ancestor_mask(trees).to(torch.uint8)
    return list(held)


@pytest.mark.parametrize(
    "lists",
    [[[-1, 0, 1, 0]], [[], [-1]], [[-1, -1, 0, 2], [-1, 0], []],
     *(random_lists(3, nodes, nodes) for nodes in (31, 33, 70))],
    ids=lambda lists: f"{len(lists[0])} nodes",
)  # fmt: skip
def test_as_plain_torch(device: str, lists: list[list[int]]) -> None:
    trees = trees_of(lists, device)
    slots = torch.tensor([4, 0, 3], device=device)[: len(lists)]
    mine, theirs = (written(trees, slots, kernel) for kernel in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert (mine[3][slots, 0, 0] == 1).all()


def test_control_anothers_parents_make_another_mask(device: str) -> None:
    slots = torch.tensor([1], device=device)
    masks = [written(trees_of([up], device), slots, True)[3] for up in ([-1, 0, 1], [-1, 0, 0])]
    assert not torch.equal(*masks)


def test_trees_that_lie_apart(device: str) -> None:
    """Columns of a buffer that has room for more."""
    whole = trees_of(random_lists(2, 20, 1), device)
    part = DraftTrees(
        *(getattr(whole, f)[:, :7] for f in ("tokens", "parents", "depths", "log_probs")),
        whole.sizes.clamp(max=7),
        whole.levels,
    )
    slots = torch.tensor([5, 2], device=device)
    pairs = zip(*(written(part, slots, kernel) for kernel in (True, False)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
