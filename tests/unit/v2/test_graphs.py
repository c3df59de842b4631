"""Which graph drafts for which batch, and what a cycle's trace says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm", reason="needs the engine: make setup")

from longspec_plugin.vllm.v2.graphs import MOST_REQUESTS, DraftGraphs, draft_sizes
from longspec_plugin.vllm.v2.timing import BEHIND, Timing


def graphs(sizes: list[int]) -> tuple[DraftGraphs, list[int]]:
    """Graphs whose replays are told apart: they note the size that they were captured for, less
    than 0."""
    ran: list[int] = []

    def record(region: Callable[[], None]) -> Callable[[], None]:
        region()
        size = ran.pop()
        return lambda: ran.append(-size)

    made = DraftGraphs(ran.append, record)
    made.capture(sizes)
    return made, ran


@pytest.mark.parametrize(("count", "ran"), [(1, -1), (2, -4), (4, -4), (5, -6), (7, 7)])
def test_a_batch_is_drafted_for_by_the_least_graph_that_holds_it(count: int, ran: int) -> None:
    made, done = graphs([6, 1, 4])
    made.run(count)
    assert done == [ran]


def test_graphs_of_an_earlier_cache_are_gone() -> None:
    made, done = graphs([2])
    made.capture(())
    made.run(2)
    assert done == [2]


@pytest.mark.parametrize("most", [1, 3, 6, 64, 200, 1000])
def test_sizes_reach_the_largest_batch(most: int) -> None:
    sizes = draft_sizes(most)
    assert sizes[0] == 1
    assert sizes[-1] == min(most, MOST_REQUESTS)
    assert len(sizes) <= 20


def test_a_trace_has_a_line_for_each_cycle_that_verified(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    timing = Timing(torch.device("cpu"), path.open("w", buffering=1))
    for cycle in range(BEHIND + 4):
        timing.begin()
        for name in ("forward", "draft"):
            with timing.section(name):
                pass
        if cycle % 2:
            timing.note(requests=2, rows=10, accepted=torch.tensor(cycle))
    timing.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["accepted"] for line in lines] == [1, 3, 5, 7, 9]
    assert all(line["forward_ms"] + line["draft_ms"] <= line["cycle_ms"] for line in lines)
    assert "accept_ms" not in lines[0]


def test_without_a_file_nothing_is_kept() -> None:
    timing = Timing(torch.device("cpu"), None)
    timing.begin()
    with timing.section("draft"):
        timing.note(rows=1)
    assert not timing.on
    assert not timing.cycles
