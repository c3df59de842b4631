"""Drafts are chosen near the best of all choices, on machines of many kinds and as they change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from proposers.acceptance import greedy_walk
from proposers.load.costs import Costs, Curve
from proposers.load.follower import ALL, NOTHING, Choice, Effort, LoadFollower
from proposers.load.yields import EDGES, LEASTS, Verified, Yields
from proposers.tree import from_parents

from .machine import COSTS, NODES, Machine

NEAR = 0.9  # of the rate of the best choice, at the noise of these machines


def follows() -> LoadFollower:
    return LoadFollower(True, NODES)


@pytest.mark.parametrize("requests", [1, 4, 32])
@pytest.mark.parametrize("kind", COSTS)
def test_near_the_best_choice(kind: str, requests: int) -> None:
    machine, follower = Machine(*COSTS[kind]), follows()
    begun, later = machine.run(follower, requests, 300), machine.run(follower, requests, 1500)
    assert machine.share(later, requests) > NEAR
    assert machine.share(begun, requests) > 0.5
    none = machine.rate(NOTHING, requests) / machine.best(requests)
    assert machine.share(later, requests) > 0.97 * none  # never much below no speculation


def test_the_number_falls_as_the_batch_grows_and_drafts_become_cheap() -> None:
    machine, follower = Machine(*COSTS["knee"]), follows()
    runs = [machine.run(follower, size, 700)[200:] for size in (1, 8, 32, 64)]
    nodes = [machine.nodes(chosen) for chosen in runs]
    assert nodes == sorted(nodes, reverse=True)
    assert nodes[0] > 4
    assert nodes[-1] < 0.8
    assert np.median([choice.effort for choice in runs[0]]) == Effort.WHOLE


@pytest.mark.parametrize("cheaper", [True, False])
def test_speculation_that_cannot_pay_ends_but_for_trials(cheaper: bool) -> None:
    machine, follower = Machine(*COSTS["linear"]), LoadFollower(cheaper, NODES)
    machine.run(follower, 8, 500)
    later = machine.run(follower, 8, 1500)
    assert 0 < sum(choice.effort is Effort.WHOLE for choice in later) < 0.03 * len(later)
    assert 0 < sum(choice.effort > 0 for choice in later) < 0.15 * len(later)


def test_lookups_go_on_where_a_draft_does_not_pay() -> None:
    machine, follower = Machine(*COSTS["dear drafts"]), follows()
    machine.run(follower, 8, 500)
    efforts = [choice.effort for choice in machine.run(follower, 8, 1500)]
    assert efforts.count(Effort.CHEAP) > 0.8 * len(efforts)


def test_a_slow_hour_changes_nothing() -> None:
    """All takes twice as long: nothing looks better for having been measured before."""
    machine, follower = Machine(*COSTS["mixed"]), follows()
    machine.run(follower, 1, 1000)
    machine.slow = 2.0
    assert machine.share(machine.run(follower, 1, 300), 1) > NEAR


@pytest.mark.parametrize(("before", "after"), [("flat", "steps"), ("steps", "flat")])
def test_another_machine_is_learnt(before: str, after: str) -> None:
    machine, follower = Machine(*COSTS[before]), follows()
    machine.run(follower, 8, 1000)
    machine.step, machine.draft = COSTS[after]
    machine.run(follower, 8, 2000)
    assert machine.share(machine.run(follower, 8, 500), 8) > 0.9


def test_texts_that_the_draft_knows_worse() -> None:
    machine, follower = Machine(*COSTS["mixed"]), follows()
    good = machine.run(follower, 1, 800)
    machine.hold = 0.05
    machine.run(follower, 1, 1200)
    later = machine.run(follower, 1, 200)
    assert np.median([choice.effort for choice in later]) < Effort.WHOLE
    assert machine.share(later, 1) > NEAR
    assert np.median([choice.effort for choice in good[100:]]) == Effort.WHOLE


def test_it_begins_with_whole_trees_and_drafts_nothing_for_nobody() -> None:
    follower = follows()
    assert follower.choose(4, 0) == NOTHING
    assert follower.choose(4, 4) == Choice(Effort.WHOLE, ALL)


def test_what_has_no_cheaper_way_is_never_asked_for_it() -> None:
    follower = LoadFollower(False, NODES)
    chosen = Machine(*COSTS["steps"]).run(follower, 32, 600)
    assert {choice.effort for choice in chosen} == {Effort.NONE, Effort.WHOLE}


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


def test_what_steps_and_each_way_of_drafting_cost() -> None:
    costs = Costs()
    costs.note_step(2, 4, 2.0)
    costs.note_drafts(1, 8, 3.0)
    assert costs.seconds(2, 4, 1, 8) == pytest.approx(5)
    assert costs.seconds(2, 4, 2, 8) == pytest.approx(2)  # a way that was never tried
    assert costs.plain_seconds(4) == pytest.approx(2)


def test_steps_without_trees_are_known_by_themselves_and_bound_the_others() -> None:
    costs = Costs()
    costs.note_step(2, 4, 2.0)
    costs.note_step(4, 4, 1.5)
    assert costs.plain_seconds(4) == pytest.approx(1.5)
    assert costs.seconds(2, 4, 1, 0) == pytest.approx(2)
    assert costs.seconds(4, 2, 1, 0) == pytest.approx(1.5)


def test_what_became_of_trees_by_likelihood() -> None:
    """Node 1 is likelier than node 0, whose child 2 is accepted; the other tree's node is too."""
    trees = from_parents([[5, 6, 7], [9]], [[-1, -1, 0], [-1]], [[-1.0, -0.5, -1.25], [-0.125]])
    drawn = torch.tensor([[5, 7, 0, 3], [9, 4, 0, 0]])
    rows = greedy_walk(trees, drawn).rows
    found = Verified.of(trees, rows, 2)
    assert found == Verified(2, [-1.0, -0.5, -1.25, -0.125], [-1.0, -1.25, -0.125])
    empty = from_parents([[], []], [[], []])
    assert Verified.of(empty, greedy_walk(empty, drawn[:, :1]).rows, 2) == Verified(2, [], [])


def test_yields_by_likelihood() -> None:
    yields, at = Yields(), [EDGES.index(edge) for edge in (0.85, 0.31, 0.0)]
    sure, even, doubtful = (math.log(p) for p in (0.9, 0.5, 0.1))
    for _ in range(2000):
        yields.note(Verified(2, [sure, even, even, doubtful], [sure, even]), ALL)
    assert [yields.nodes(i) for i in at] == pytest.approx([0.5, 1.5, 2], abs=0.01)
    assert [yields.accepted(i) for i in at] == pytest.approx([0.5, 1, 1], abs=0.01)


@pytest.mark.parametrize(("requests", "left"), [(1, 0.37), (8, 0.86)])
def test_texts_of_few_requests_are_forgotten_sooner(requests: int, left: float) -> None:
    yields, sure = Yields(), math.log(0.9)
    for _ in range(4000 // requests):
        yields.note(Verified(requests, [sure] * requests, [sure] * requests), ALL)
    for _ in range(64 // requests):
        yields.note(Verified(requests, [], []), ALL)
    assert yields.accepted(ALL) == pytest.approx(left, abs=0.02)


def test_what_was_not_drafted_is_not_held_against_unlikely_nodes() -> None:
    yields, before = Yields(), Yields()
    least = EDGES.index(0.47)
    for _ in range(500):
        yields.note(Verified(4, [], []), least)
    assert yields.nodes(least) < 0.05
    gone, kept = (after.nodes(ALL) - after.nodes(least) for after in (yields, before))
    assert gone == pytest.approx(kept)


def test_edges_fall_and_leasts_are_their_logarithms() -> None:
    assert list(EDGES) == sorted(EDGES, reverse=True)
    assert np.exp(LEASTS).tolist() == pytest.approx(EDGES)
