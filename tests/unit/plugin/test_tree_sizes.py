"""Which steps of vLLM's are measured, and how many nodes are asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longspec_plugin.options import LongSpecOptions
from longspec_plugin.vllm.v1 import load
from longspec_plugin.vllm.v1.load import TreeSizes
from proposers.acceptance import greedy_walk
from proposers.load.schedule import NodeSchedule
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
    return TreeSizes(LongSpecOptions(None, "prompt_lookup", {}, **options), 8)


def scheduled(rows: dict[str, int], drafts: dict[str, int]) -> SimpleNamespace:
    tokens = {name: [0] * count for name, count in drafts.items()}
    return SimpleNamespace(num_scheduled_tokens=rows, scheduled_spec_decode_tokens=tokens)


def test_only_steps_without_prefill_that_follow_at_once_are_measured(clock: Clock) -> None:
    kept = sizes(follow_load=True)
    assert kept.follower is not None
    seen: list[tuple[str, int, float]] = []
    kept.follower.stepped = lambda n, rows, s: seen.append(("step", rows, s))  # type: ignore[method-assign]
    kept.follower.drafted = lambda n, s: seen.append(("draft", n, s))  # type: ignore[method-assign]
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
        with kept.drafting(list(rows), [8] * len(rows), usual):
            clock.now += 1
        kept.end()
    found = [("draft", 8, 1), ("step", 9, 10), ("draft", 16, 1), ("step", 5, 10), ("draft", 8, 1)]
    assert seen == found


def test_what_became_of_trees_is_told_by_rank() -> None:
    kept = sizes(follow_load=True)
    assert kept.follower is not None
    before = kept.follower.yields.accepted(8)
    with kept.drafting(["a", "b"], [2, 4], True):
        pass
    trees = from_parents([[], [5, 6]], [[], [-1, -1]], [[], [-2.0, -1.0]])
    walk = greedy_walk(trees, torch.tensor([[1, 0, 0], [6, 0, 0]]))
    kept.verified(["other", "b"], trees, walk.rows)
    assert kept.follower.yields.accepted(1) > 0.5  # the likeliest was right
    assert kept.follower.yields.accepted(8) < before + 0.1


@pytest.mark.parametrize(("requests", "nodes"), [(1, 8), (2, 8), (3, 2), (9, 0)])
def test_by_hand(requests: int, nodes: int) -> None:
    kept = sizes(schedule=NodeSchedule.read([[1, 2, 8], [3, 4, 2], [5, 9, 0]]), follow_load=False)
    assert kept.choose(requests, requests, 8) == nodes
    assert kept.choose(requests, requests, 1) == min(nodes, 1)
    kept.begin(None)  # nothing is measured
    kept.end()


def test_all_nodes_without_either() -> None:
    kept = sizes(follow_load=False)
    assert (kept.choose(32, 32, 100), kept.choose(32, 32, 3)) == (8, 3)
