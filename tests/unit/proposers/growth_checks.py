"""Checks of the kernel that chooses a level's nodes on any device, against plain torch.

Not collected by its name: ``test_growth_triton`` runs it in Triton's interpreter, ``tests/gpu`` on
a GPU.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from proposers import growth, growth_triton, kernels
from proposers.growth_triton import LevelsTriton
from proposers.levels import Frontier
from proposers.tree import DraftTrees, prune

from ..launches import count_launches

VOCAB = 300
SHAPES = [[1], [4, 6, 4, 2], [3, 40, 20], [90, 10]]


def step_of(table: Tensor) -> Any:
    """A draft whose distribution depends on the last token and the depth alone."""

    def step(frontier: Frontier, k: int) -> tuple[Tensor, Tensor]:
        best = table[frontier.depth][frontier.tokens].topk(min(k, VOCAB), dim=-1)
        return best.values, best.indices

    return step


def grown(
    patch: pytest.MonkeyPatch, device: str, shape: list[int], kernel: bool, *limits: Any
) -> DraftTrees:
    torch.manual_seed(len(shape))
    table = (3 * torch.randn(len(shape), VOCAB, VOCAB)).log_softmax(-1).to(device)
    patch.setattr(kernels, "runs_on", lambda device: kernel)
    return growth.grow(torch.tensor([0, 3, 9], device=device), shape, step_of(table), *limits)


def assert_same(one: DraftTrees, other: DraftTrees) -> None:
    assert one.levels == other.levels
    for name in ("tokens", "parents", "depths", "log_probs", "sizes"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if name != "sizes":  # what fills the rest is of no account
            mine, theirs = mine[one.valid()], theirs[other.valid()]
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize("limits", [(), (-math.inf, None, True), (-6.0, None), (-math.inf, 7)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_trees_are_those_of_the_operators(
    device: str, shape: list[int], limits: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = count_launches(monkeypatch, growth_triton)
    mine = grown(monkeypatch, device, shape, True, *limits)
    assert len(launches) >= mine.levels
    theirs = grown(monkeypatch, device, shape, False, *limits)
    if limits and limits[0] > -math.inf:  # the operators leave out rows that nobody needs
        assert theirs.max_nodes <= mine.max_nodes
        mine, theirs = (prune(t, t.sizes, limits[0]) for t in (mine, theirs))
    assert_same(mine, theirs)
    assert len(launches) <= len(shape)


def test_equally_likely_nodes_keep_their_order(device: str) -> None:
    log_probs = torch.zeros(2, 3, 4, device=device)
    log_probs[1, 1, 2] = math.nan  # as unlikely as can be, and still a node
    log_probs[1, 2] = -math.inf
    tokens = torch.arange(24, device=device).view(2, 3, 4)
    frontier = Frontier(tokens[:, :, 0], tokens[:, :, 0], 1, 5)
    levels = LevelsTriton(2, 12, torch.device(device))
    levels.keep(frontier, levels.choose(frontier, log_probs[:, :, 0], log_probs, tokens, 12))
    trees = levels.trees()
    last = [6, *range(8, 12)]
    order = [*range(12), *(12 + i for i in range(12) if i not in last), *(12 + i for i in last)]
    assert trees.tokens.flatten().tolist() == order
    assert trees.parents.flatten().tolist() == [5 + (i % 12) // 4 for i in order]
    assert not trees.log_probs.isnan().any()


def test_levels_too_wide_are_left_to_the_operators(device: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "runs_on", lambda device: True)
        where = torch.device(device)
        assert LevelsTriton.take([4096], where)
        assert LevelsTriton.take([64, 64, 8], where)
        assert not LevelsTriton.take([64, 65], where)
