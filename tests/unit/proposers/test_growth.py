"""Level growth against an exhaustive search."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from proposers.growth import Frontier, check_shape, grow
from proposers.tree import prune

from .contexts import nodes

VOCAB = 5


def table_step(table: torch.Tensor) -> object:
    """A draft whose distribution depends on the last token and the depth alone."""

    def step(frontier: Frontier, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = table[frontier.depth][frontier.tokens]
        best = rows.topk(min(k, VOCAB), dim=-1)
        return best.values, best.indices

    return step


def brute_force(table: torch.Tensor, root: int, shape: list[int]) -> list[set[tuple[int, ...]]]:
    """Each level: the best paths that extend a path of the level before."""
    level: dict[tuple[int, ...], float] = {(): 0.0}
    levels = []
    for depth, width in enumerate(shape):
        grown = {}
        for path, token in itertools.product(level, range(VOCAB)):
            last = path[-1] if path else root
            grown[(*path, token)] = level[path] + float(table[depth, last, token])
        level = dict(sorted(grown.items(), key=lambda item: -item[1])[:width])
        levels.append(set(level))
    return levels


@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(0, 10_000))
def test_levels_hold_the_likeliest_paths(shape: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    table = torch.randn(len(shape), VOCAB, VOCAB).log_softmax(-1)
    roots = torch.tensor([0, 3])
    trees = grow(roots, shape, table_step(table))  # type: ignore[arg-type]
    for b, root in enumerate(roots.tolist()):
        paths: list[tuple[int, ...]] = []
        for token, parent in zip(trees.tokens[b].tolist(), trees.parents[b].tolist(), strict=True):
            paths.append((*(paths[parent] if parent >= 0 else ()), token))
        for depth, expected in enumerate(brute_force(table, root, shape), start=1):
            assert {p for p in paths if len(p) == depth} == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "expected a non-empty list"),
        ("4,4", "expected a non-empty list"),
        ([4, 0], "level size 0 is not a whole number"),
        ([4, 2.5], "level size 2.5 is not a whole number"),
        ([True], "level size True"),
        ([64, 65], "129 nodes; at most 128 are allowed"),
    ],
)
def test_impossible_shapes_are_refused(shape: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_shape(shape)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@given(st.floats(-8, -0.5), st.integers(0, 10_000))
def test_stopping_early_loses_no_likely_path(floor: float, seed: int) -> None:
    torch.manual_seed(seed)
    table = 2 * torch.randn(4, VOCAB, VOCAB)
    step = table_step(table.log_softmax(-1))
    roots, everything = torch.tensor([0, 3]), torch.full((2,), 99)
    whole = grow(roots, [3, 4, 3, 2], step)  # type: ignore[arg-type]
    short = grow(roots, [3, 4, 3, 2], step, floor)  # type: ignore[arg-type]
    left, right = prune(whole, everything, floor), prune(short, everything, floor)
    assert left.token_lists() == right.token_lists()
    assert short.max_nodes <= whole.max_nodes


@given(st.floats(-8, -0.5), st.integers(1, 13), st.integers(0, 10_000))
def test_static_growth_makes_all_levels_and_the_same_trees(
    floor: float, kept: int, seed: int
) -> None:
    torch.manual_seed(seed)
    table = 2 * torch.randn(4, VOCAB, VOCAB)
    step = table_step(table.log_softmax(-1))
    roots, shape = torch.tensor([0, 3]), [3, 4, 3, 2]
    short = grow(roots, shape, step, floor, kept)  # type: ignore[arg-type]
    whole = grow(roots, shape, step, floor, kept, static=True)  # type: ignore[arg-type]
    assert (whole.max_nodes, whole.levels) == (sum(shape), len(shape))
    budgets = torch.tensor([kept, kept])
    expected = nodes(prune(short, budgets, floor))
    assert nodes(prune(whole, budgets, floor, width=kept)) == expected


def test_rows_that_no_request_needs_are_not_drafted() -> None:
    """Nodes under a least probability have no child that is over it."""
    table = torch.tensor([[0.6, 0.3, 0.06, 0.04], [0.9, 0.1, 0.0, 0.0]]).log()
    widths: list[int] = []

    def step(frontier: Frontier, k: int) -> tuple[Tensor, Tensor]:
        widths.append(frontier.tokens.shape[1])
        row = table[min(frontier.depth, 1)][:k]
        shape = (*frontier.tokens.shape, len(row))
        return row.expand(shape), torch.arange(len(row)).expand(shape)

    least = math.log(0.05)
    whole = grow(torch.tensor([5, 6]), [4, 4, 4], step)
    assert widths == [1, 4, 4]
    fewer = grow(torch.tensor([5, 6]), [4, 4, 4], step, least)
    assert widths[3:] == [1, 3, 4]
    kept = [prune(trees, torch.tensor([99, 99]), least) for trees in (whole, fewer)]
    assert kept[0].token_lists() == kept[1].token_lists()
    assert torch.equal(kept[0].parents, kept[1].parents)
