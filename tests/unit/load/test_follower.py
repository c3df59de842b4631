"""Nodes are chosen near the best of all sizes, on machines of many kinds and as they change."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from proposers.acceptance import greedy_walk
from proposers.load.costs import Costs, Curve
from proposers.load.follower import LoadFollower, candidates
from proposers.load.yields import Verified, Yields
from proposers.tree import DraftTrees, from_parents, prune, ranks

from .machine import COSTS, GOOD, NODES, Machine

NEAR = 0.9  # of the rate of the best size, at the noise of these machines


@pytest.mark.parametrize("requests", [1, 4, 32])
@pytest.mark.parametrize("kind", COSTS)
def test_near_the_best_size(kind: str, requests: int) -> None:
    machine, follower = Machine(*COSTS[kind], GOOD), LoadFollower(NODES)
    begun, later = machine.run(follower, requests, 300), machine.run(follower, requests, 1500)
    assert machine.share(later, requests) > NEAR
    assert machine.share(begun, requests) > 0.5
    none = machine.rate(0, requests) / machine.best(requests)
    assert machine.share(later, requests) > 0.97 * none  # never much below no speculation


def test_the_number_falls_as_the_batch_grows_to_none() -> None:
    machine, follower = Machine(*COSTS["knee"], GOOD), LoadFollower(NODES)
    chosen = [int(np.median(machine.run(follower, size, 500)[100:])) for size in (1, 8, 32, 64)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] >= 12
    assert chosen[-1] == 0


@pytest.mark.parametrize("kind", ["linear", "dear drafts"])
def test_speculation_that_cannot_pay_ends_but_for_probes(kind: str) -> None:
    machine, follower = Machine(*COSTS[kind], GOOD), LoadFollower(NODES)
    machine.run(follower, 8, 500)
    later = machine.run(follower, 8, 1500)
    assert 0 < sum(nodes > 0 for nodes in later) < 0.03 * len(later)


def test_a_slow_hour_changes_nothing() -> None:
    """All takes twice as long: no size looks better for having been measured before."""
    machine, follower = Machine(*COSTS["mixed"], GOOD), LoadFollower(NODES)
    machine.run(follower, 1, 1000)
    machine.slow = 2.0
    assert machine.share(machine.run(follower, 1, 300), 1) > NEAR


@pytest.mark.parametrize(("before", "after"), [("flat", "steps"), ("steps", "flat")])
def test_another_machine_is_learnt(before: str, after: str) -> None:
    machine, follower = Machine(*COSTS[before], GOOD), LoadFollower(NODES)
    machine.run(follower, 8, 1000)
    machine.step, machine.draft = COSTS[after]
    machine.run(follower, 8, 2000)
    assert machine.share(machine.run(follower, 8, 500), 8) > 0.9


def test_texts_that_the_draft_knows_worse() -> None:
    machine, follower = Machine(*COSTS["mixed"], GOOD), LoadFollower(NODES)
    good = machine.run(follower, 1, 800)
    machine.accepted = GOOD / 10
    machine.run(follower, 1, 1200)
    assert np.median(machine.run(follower, 1, 200)) == 0 < np.median(good[100:])


def test_limits_are_kept() -> None:
    follower = LoadFollower(5)
    assert follower.choose(4, 0, 5) == 0
    assert follower.choose(4, 4, 5) == 5
    assert follower.choose(4, 4, 2) == 2
    assert all(follower.choose(4, 4, 3) <= 3 for _ in range(200))


@pytest.mark.parametrize("nodes", [1, 2, 8, 9, 13, 128])
def test_candidates_hold_none_and_all(nodes: int) -> None:
    found = candidates(nodes)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, nodes)


def test_a_curve_between_below_and_beyond_what_is_known() -> None:
    curve = Curve()
    assert curve.seconds(5) == 0
    for size, seconds in ((4, 8.0), (16, 20.0)):
        assert curve.note(size, seconds, 0) == 1
    assert [curve.seconds(size) for size in (2, 4, 10, 16, 28)] == pytest.approx([4, 8, 14, 20, 32])


def test_an_outlier_moves_a_known_mean_but_little() -> None:
    curve = Curve()
    for step in range(20):
        curve.note(8, 1.0, step)
    assert curve.note(8, 100.0, 20) == pytest.approx(1.5)
    assert curve.seconds(8) < 1.05


def test_what_was_slow_at_first_is_forgotten() -> None:
    curve = Curve()
    for step, seconds in enumerate((9.0, 1.0, 1.0)):
        curve.note(8, seconds, step)
    assert curve.seconds(8) == pytest.approx(1)


def test_drafting_costs_nothing_where_nothing_is_drafted() -> None:
    costs = Costs()
    costs.note_step(2, 4, 2.0)
    costs.note_drafts(8, 3.0)
    assert (costs.seconds(4, 0), costs.seconds(4, 8)) == pytest.approx((2, 5))


def test_steps_without_trees_are_known_by_themselves() -> None:
    costs = Costs()
    costs.note_step(2, 4, 2.0)
    costs.note_step(4, 4, 1.5)
    assert (costs.seconds(4, 0), costs.seconds(4, 8)) == pytest.approx((1.5, 2))


def test_what_became_of_trees_by_rank() -> None:
    """Node 1 is likelier than node 0, whose child 2 is accepted; the other tree has one node."""
    trees = from_parents([[5, 6, 7], [9]], [[-1, -1, 0], [-1]], [[-1.0, -0.5, -1.2], [-0.1]])
    assert ranks(trees).tolist() == [[1, 0, 2], [0, 1, 2]]
    drawn = torch.tensor([[5, 7, 0, 3], [9, 4, 0, 0]])
    rows = greedy_walk(trees, drawn).rows
    assert Verified.of(trees, rows, [3, 2]) == Verified([3, 2], [3, 1], [1, 2, 0])
    empty = from_parents([[], []], [[], []])
    assert Verified.of(empty, greedy_walk(empty, drawn[:, :1]).rows, [0, 0]).accepted == []


def test_yields_by_rank() -> None:
    yields = Yields(3)
    for _ in range(2000):
        yields.note(Verified([3, 2], [3, 1], [1, 2, 0]))
    assert [yields.nodes(n) for n in range(4)] == pytest.approx([0, 1, 1.5, 2.5], abs=0.01)
    assert [yields.accepted(n) for n in range(4)] == pytest.approx([0, 0.5, 1, 2], abs=0.01)


def test_smaller_budgets_are_the_first_ranks_of_larger_ones() -> None:
    tree = from_parents([[1, 2, 3, 4]], [[-1, -1, 0, 1]], [[-0.5, -1.0, -0.6, -1.5]])
    kept: list[set[int]] = []
    for nodes in range(1, 5):
        pruned: DraftTrees = prune(tree, torch.tensor([nodes]))
        order = ranks(tree)[0].argsort()[:nodes]
        kept.append(set(pruned.token_lists()[0]))
        assert kept[-1] == set(tree.tokens[0, order].tolist())
    assert all(less < more for less, more in pairwise(kept))
