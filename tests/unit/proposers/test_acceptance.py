"""The walk: right path, right tokens, and the target's distribution."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.acceptance import greedy_walk, walk
from proposers.tree import DraftTrees, from_parents

from .strategies import tree_batches


def slow_walk(trees: DraftTrees, next_tokens: torch.Tensor, b: int) -> tuple[list[int], list[int]]:
    tokens, rows, row = [], [], 0
    while True:
        drawn = int(next_tokens[b, row])
        tokens.append(drawn)
        rows.append(row)
        children = [
            node + 1
            for node in range(int(trees.sizes[b]))
            if int(trees.parents[b, node]) == row - 1 and int(trees.tokens[b, node]) == drawn
        ]
        if not children:
            return tokens, rows
        row = children[0]


@given(tree_batches(), st.integers(0, 10_000))
def test_walk_equals_one_request_at_a_time(trees: DraftTrees, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (trees.batch_size, trees.max_nodes + 1)
    next_tokens = torch.randint(1, 4, shape, generator=generator)
    accepted = greedy_walk(trees, next_tokens)
    for b in range(trees.batch_size):
        tokens, rows = slow_walk(trees, next_tokens, b)
        assert [t for t in accepted.tokens[b].tolist() if t >= 0] == tokens
        assert [r for r in accepted.rows[b].tolist() if r >= 0] == rows
        assert int(accepted.accepted[b]) == len(tokens) - 1
        assert int(accepted.last_rows()[b]) == rows[-1]


@given(tree_batches(), st.integers(0, 10_000))
def test_a_static_walk_is_as_long_as_trees_may_be(trees: DraftTrees, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (trees.batch_size, trees.max_nodes + 1)
    next_tokens = torch.randint(1, 4, shape, generator=generator)
    found, static = greedy_walk(trees, next_tokens), greedy_walk(trees, next_tokens, static=True)
    width = found.tokens.shape[1]
    assert static.tokens.shape == static.rows.shape == (trees.batch_size, trees.levels + 1)
    assert torch.equal(static.accepted, found.accepted)
    assert torch.equal(static.last_rows(), found.last_rows())
    for short, long in ((found.tokens, static.tokens), (found.rows, static.rows)):
        assert torch.equal(long[:, :width], short)
        assert bool((long[:, width:] == -1).all())


def sampled_pairs(trees: DraftTrees, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Joint counts of two tokens: the walk's, and a plain draw where the walk ended early."""

    def draw(rows: torch.Tensor, active: torch.Tensor, depth: int) -> torch.Tensor:
        last = trees.tokens.gather(1, (rows - 1).clamp(min=0)[:, None]).squeeze(1)
        table = torch.where((rows == 0)[:, None], first.expand(len(rows), -1), second[last])
        return table.multinomial(1).squeeze(1)

    accepted = walk(trees, draw)
    tokens = accepted.tokens[:, :2].clone()
    short = tokens[:, 1] < 0
    tokens[short, 1] = second[tokens[short, 0]].multinomial(1).squeeze(1)
    return torch.bincount(tokens[:, 0] * 4 + tokens[:, 1], minlength=16).double()


def test_output_is_distributed_as_the_target() -> None:
    torch.manual_seed(0)
    first = torch.tensor([0.5, 0.3, 0.15, 0.05])
    second = torch.rand(4, 4)
    second /= second.sum(1, keepdim=True)
    draws = 40_000
    one = ([0, 1, 2, 3, 0], [-1, -1, 0, 0, 1])
    trees = from_parents([one[0]] * draws, [one[1]] * draws)
    exact = (first[:, None] * second).flatten().double()
    counts = sampled_pairs(trees, first, second)
    noise = torch.multinomial(exact, draws, replacement=True).bincount(minlength=16).double()
    control = total_variation(noise / draws, exact)
    assert total_variation(counts / draws, exact) < 3 * control + 0.005
    assert total_variation(candidates_taken_as_samples(first, draws), first) > 0.1  # must fail


def candidates_taken_as_samples(target: torch.Tensor, draws: int) -> torch.Tensor:
    """The wrong rule: the top-2 candidates of a draft are accepted as if sampled from it."""
    draft = torch.tensor([0.4, 0.4, 0.1, 0.1])
    counts = torch.zeros(4, dtype=torch.float64)
    for _ in range(draws // 20):
        residual = target.clone()
        for candidate in (0, 1):
            if torch.rand(()) < residual[candidate] / draft[candidate]:
                counts[candidate] += 1
                break
            residual = (residual - draft).clamp(min=0)
            residual /= residual.sum()
        else:
            counts[int(residual.multinomial(1))] += 1
    return counts / counts.sum()


def total_variation(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).abs().sum() / 2)


def test_only_visited_rows_are_drawn() -> None:
    trees = from_parents([[7, 8], [7]], [[-1, 0], [-1]])
    visited = []

    def draw(rows: torch.Tensor, active: torch.Tensor, depth: int) -> torch.Tensor:
        visited.append([(b, int(r)) for b, r in enumerate(rows) if active[b]])
        return torch.tensor([7, 5])

    walk(trees, draw)
    assert visited == [[(0, 0), (1, 0)], [(0, 1)]]
