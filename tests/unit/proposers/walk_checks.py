"""Checks of the walk's kernel on any device, against the walk in plain torch.

Not collected by its name: ``test_acceptance_triton`` runs it in Triton's interpreter, ``tests/gpu``
on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from proposers import acceptance_triton
from proposers.acceptance import Walk, greedy_walk
from proposers.acceptance_triton import greedy_walk_triton
from proposers.tree import DraftTrees

from ..launches import count_launches

SLOTS = 9


@dataclass(frozen=True)
class Step:
    """What the kernel takes."""

    drawn: Tensor
    drafted: Tensor
    bounds: Tensor
    slots: Tensor
    parents: Tensor
    sizes: Tensor
    levels: int

    def on(self, device: str) -> Step:
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def random_step(batch: int, nodes: int, levels: int, seed: int) -> Step:
    """Two tokens, so that paths are long and siblings may be equal; some tokens are denied.

    More or fewer nodes than a tree has may be scheduled, and a request may have no row at all.
    """
    draw = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=draw)

    counts = integers(0, nodes + 2, batch)
    bounds = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    total = max(int(bounds[-1]), 1)
    drafted = torch.where(integers(0, 10, total) == 0, -1, integers(0, 2, total))
    parents = (torch.rand(SLOTS, nodes, generator=draw) * torch.arange(1, nodes + 1)).long() - 1
    slots = torch.randperm(SLOTS, generator=draw)[:batch]
    sizes = integers(0, nodes + 1, SLOTS)
    return Step(integers(0, 2, total), drafted, bounds.int(), slots, parents, sizes, levels)


def expected(step: Step) -> Walk:
    """As Model Runner V2's sampler walks in plain torch."""
    bounds = step.bounds.long()
    scheduled = bounds[1:] - bounds[:-1] - 1
    columns = torch.arange(1 + step.parents.shape[1])
    rows = (bounds[:-1, None] + columns).clamp(max=len(step.drawn) - 1)
    sizes = torch.minimum(step.sizes[step.slots], scheduled)
    tokens, parents = step.drafted[rows[:, 1:]], step.parents[step.slots]
    trees = DraftTrees(tokens, parents, parents, tokens.float(), sizes, step.levels)
    return greedy_walk(trees, step.drawn[rows], static=True)


def found(step: Step, device: str) -> Walk:
    return greedy_walk_triton(**vars(step.on(device)))


def same(first: Walk, second: Walk) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all(torch.equal(a.cpu(), b.cpu()) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize(
    ("batch", "nodes", "levels"), [(1, 1, 1), (9, 4, 4), (7, 16, 5), (8, 33, 9), (3, 64, 64)]
)
def test_the_walk_is_that_of_plain_torch(device: str, batch: int, nodes: int, levels: int) -> None:
    deepest = 0
    for seed in range(12):
        step = random_step(batch, nodes, levels, seed)
        wanted = expected(step)
        assert same(found(step, device), wanted)
        deepest = max(deepest, int(wanted.accepted.max()))
    assert deepest >= min(levels, 2)


@pytest.mark.parametrize("name", ["sizes", "slots", "drafted", "bounds"])
def test_the_walk_depends_on_all_of_it(device: str, name: str) -> None:
    """Controls: with the other requests' numbers some walk is another."""
    steps = [random_step(8, 16, 6, seed) for seed in range(12)]
    changed = [replace(step, **{name: getattr(step, name).roll(1)}) for step in steps]
    if name == "bounds":
        changed = [replace(s, bounds=s.bounds.clamp(max=int(s.bounds[-1]) // 2)) for s in steps]
    pairs = zip(steps, changed, strict=True)
    assert not all(same(found(other, device), expected(step)) for step, other in pairs)


def test_a_walk_without_nodes_or_requests(device: str) -> None:
    step = random_step(5, 8, 3, 0)
    bare = replace(step, parents=step.parents[:, :0], levels=0)
    assert same(found(bare, device), expected(bare))
    none = replace(step, bounds=step.bounds[:1], slots=step.slots[:0])
    assert found(none, device).tokens.shape == (0, 4)


def test_integers_of_other_sizes(device: str) -> None:
    step = random_step(7, 16, 5, 3)
    other = replace(step, drafted=step.drafted.int(), bounds=step.bounds.long())
    assert same(found(replace(other, slots=step.slots.int()), device), expected(step))


def test_one_launch_for_any_batch(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = count_launches(monkeypatch, acceptance_triton)
    for batch in (1, 9):
        found(random_step(batch, 8, 3, 0), device)
    assert launches == [(1,), (9,)]
