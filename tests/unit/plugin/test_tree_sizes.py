"""Which steps of vLLM's are measured, and what is asked for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longspec_plugin.options import LongSpecOptions
from longspec_plugin.vllm.v1 import load
from longspec_plugin.vllm.v1.load import TreeSizes
from proposers.acceptance import greedy_walk
from proposers.load.follower import Choice, Effort
from proposers.load.schedule import NodeSchedule
from proposers.load.yields import EDGES
from proposers.tree import from_parents


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(load, "time", clock)
    return clock


def sizes(**options: Any) -> TreeSizes:
    proposer = SimpleNamespace(max_nodes=8, cheaper=False)
    return TreeSizes(LongSpecOptions(None, "prompt_lookup", {}, **options), proposer)  # type: ignore[arg-type]


def scheduled(rows: dict[str, int], drafts: dict[str, int]) -> SimpleNamespace:
    tokens = {name: [0] * count for name, count in drafts.items()}
    return SimpleNamespace(num_scheduled_tokens=rows, scheduled_spec_decode_tokens=tokens)


def test_only_steps_without_prefill_that_follow_at_once_are_measured(clock: Clock) -> None:
    kept = sizes(follow_load=True)
    assert kept.follower is not None
    seen: list[tuple[str, int, float]] = []
    kept.follower.stepped = lambda n, rows, s: seen.append(("step", rows, s))  # type: ignore[method-assign]
    kept.follower.drafted = lambda _, n, s: seen.append(("draft", n, s))  # type: ignore[method-assign]
    steps: list[tuple[dict[str, int], dict[str, int], bool]] = [
        ({"a": 30}, {}, False),  # prefill
        ({"a": 9}, {"a": 8}, True),
        ({"a": 9, "b": 20}, {"a": 8}, False),  # the prefill of another
        ({"a": 4, "b": 1}, {"a": 3}, True),
        ({"c": 1}, {}, True),  # after a while without requests
    ]
    for rows, drafts, usual in steps:
        kept.begin(scheduled(rows, drafts))
        clock.now += 10
        with kept.drafting(list(rows), usual) as nodes:
            nodes += [8] * len(rows)
            clock.now += 1
        kept.end()
    found = [("draft", 9, 1), ("step", 9, 10), ("draft", 18, 1), ("step", 5, 10), ("draft", 9, 1)]
    assert seen == found


def test_what_became_of_trees_is_told_by_likelihood() -> None:
    kept = sizes(follow_load=True)
    assert kept.follower is not None
    yields, least = kept.follower.yields[Effort.WHOLE], EDGES.index(0.31)
    before = yields.accepted(least)
    with kept.drafting(["a", "b"], True):
        pass
    trees = from_parents([[], [5, 6]], [[], [-1, -1]], [[], [-2.0, -1.0]])
    walk = greedy_walk(trees, torch.tensor([[1, 0, 0], [6, 0, 0]]))
    kept.verified(["other", "b"], trees, walk.rows)
    assert yields.accepted(least) > before * 8 / 9 + 0.1  # one tree more, and its node was right
    before = yields.accepted(least)
    kept.begin(scheduled({"b": 1, "c": 1}, {}))  # drafted, and nothing came of it
    assert yields.accepted(least) == pytest.approx(before * 9 / 10)


def test_effort_and_likelihood_are_those_of_the_choice() -> None:
    kept = sizes(follow_load=True)
    assert kept.choose(2, 2, 8)
    assert (kept.nodes, kept.cheap, kept.least) == (8, False, float("-inf"))
    assert kept.facts()["effort"] == "whole"
    kept.follower = None
    kept.chosen = Choice(Effort.CHEAP, EDGES.index(0.47))
    assert (kept.cheap, kept.least) == (True, pytest.approx(math.log(0.47)))


def test_a_request_whose_drafts_fail_rests_where_the_load_is_followed() -> None:
    trees = from_parents([[5], [6]], [[-1], [-1]], [[-1.0], [-1.0]])
    rows = greedy_walk(trees, torch.tensor([[1, 0], [6, 0]])).rows
    for follows in (True, False):
        kept = sizes(follow_load=follows)
        for _ in range(20):
            kept.verified(["bad", "good"], trees, rows)
        assert kept.wants("good")
        assert kept.wants("bad") is not follows
        kept.forget({"bad"})
        assert kept.wants("bad")


@pytest.mark.parametrize(("requests", "nodes"), [(1, 8), (2, 8), (3, 2), (9, 0)])
def test_by_hand(requests: int, nodes: int) -> None:
    kept = sizes(schedule=NodeSchedule.read([[1, 2, 8], [3, 4, 2], [5, 9, 0]]), follow_load=False)
    for most in (8, 1):
        assert kept.choose(requests, requests, most) == (nodes > 0)
        assert kept.nodes == min(nodes, most)
    kept.begin(scheduled({"a": 1}, {}))  # nothing is measured
    kept.end()


def test_all_nodes_without_either() -> None:
    kept = sizes(follow_load=False)
    for most in (100, 3):
        assert kept.choose(32, 32, most)
        assert kept.nodes == min(most, 8)
