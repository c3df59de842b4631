"""Rows computed where a walk goes: the values of all rows, fewer of them, none twice."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from proposers.acceptance import greedy_walk, walk
from proposers.tree import DraftTrees, chains, from_parents
from proposers.visits import Visits, pays

from .strategies import tree_batches


class Rows:
    """All rows' values, and a note of which were asked for."""

    def __init__(self, trees: DraftTrees, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        counts = trees.sizes + 1
        self.first = torch.cumsum(counts, 0) - counts
        self.tokens = torch.randint(1, 4, (int(counts.sum()),), generator=generator)
        self.calls: list[list[int]] = []

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls.append(rows.tolist())
        return self.tokens[rows]

    def padded(self, trees: DraftTrees) -> Tensor:
        columns = torch.arange(trees.max_nodes + 1)
        return self.tokens[(self.first[:, None] + columns).clamp(max=len(self.tokens) - 1)]


@given(tree_batches(), st.integers(0, 10_000), st.integers(1, 20))
def test_a_walk_is_that_over_all_rows(trees: DraftTrees, seed: int, at_once: int) -> None:
    rows = Rows(trees, seed)
    visits = Visits(trees, rows.first, rows, at_once)
    found = walk(trees, lambda at, active, depth: visits(at, active))
    told = greedy_walk(trees, rows.padded(trees))
    assert torch.equal(found.tokens, told.tokens)
    assert torch.equal(found.rows, told.rows)
    asked = [row for call in rows.calls for row in call]
    assert len(asked) == len(set(asked))
    visited = (rows.first[:, None] + told.rows)[told.rows >= 0].tolist()
    assert set(visited) <= set(asked)
    if at_once == 1:
        assert sorted(asked) == sorted(visited)
    assert all(len(call) <= max(at_once, trees.batch_size) for call in rows.calls)


def test_the_likeliest_rows_fill_up_a_level() -> None:
    """Two requests; of what is below their roots the likeliest rows come along."""
    parents = [-1, -1, 0, 1]
    scores = [[-0.1, -2.0, -0.2, -3.0], [-1.0, -0.5, -4.0, -0.6]]
    trees = from_parents([[1, 2, 3, 3]] * 2, [parents] * 2, scores)
    rows = Rows(trees)
    visits = Visits(trees, rows.first, rows, at_once=6)
    visits(torch.tensor([0, 0]), torch.tensor([True, True]))
    assert rows.calls == [[0, 1, 3, 5, 7, 9]]


def test_only_rows_below_those_that_are_visited_come_along() -> None:
    trees = from_parents([[1, 2, 3, 3]], [[-1, -1, 0, 1]], [[-0.1, -2.0, -0.2, -3.0]])
    rows = Rows(trees)
    visits = Visits(trees, rows.first, rows, at_once=2)
    visits(torch.tensor([0]), torch.tensor([True]))
    visits(torch.tensor([2]), torch.tensor([True]))  # the unlikely child: row 4 is below it
    assert rows.calls == [[0, 1], [2, 4]]


def test_many_unlikely_rows_pay_and_few_or_likely_ones_do_not() -> None:
    def trees(requests: int, nodes: int, score: float) -> DraftTrees:
        shape = [[-1] * nodes] * requests
        return from_parents([list(range(nodes))] * requests, shape, [[score] * nodes] * requests)

    assert pays(trees(16, 13, -2.0))
    assert pays(trees(64, 2, -1.0))
    assert not pays(trees(1, 30, -3.0))
    assert not pays(trees(64, 2, -0.1))
    assert not pays(trees(16, 2, -0.5))


def test_a_request_that_has_ended_asks_for_nothing() -> None:
    trees = chains([[1, 2], [1, 2]])
    rows = Rows(trees)
    visits = Visits(trees, rows.first, rows, at_once=1)
    before = visits(torch.tensor([0, 0]), torch.tensor([True, True]))
    after = visits(torch.tensor([1, 0]), torch.tensor([True, False]))
    assert rows.calls == [[0, 3], [1]]
    assert int(after[1]) == int(before[1])
