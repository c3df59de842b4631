"""Invariants of trees: ancestry, positions, truncation, pruning, selection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.joining import join
from proposers.tree import (
    DraftTrees,
    ancestor_mask,
    chains,
    from_parents,
    likeliest,
    main_path,
    prune,
    row_positions,
    select,
)

from . import reference
from .contexts import nodes
from .strategies import batches_of, tree_batches


def path(trees: DraftTrees, batch: int, node: int) -> list[int]:
    """Rows from the root to a node, by following parents one at a time."""
    rows = []
    while node >= 0:
        rows.append(node + 1)
        node = int(trees.parents[batch, node])
    return [0, *reversed(rows)]


@given(tree_batches())
def test_mask_is_the_row_itself_and_its_ancestors(trees: DraftTrees) -> None:
    mask = ancestor_mask(trees)
    for b, size in enumerate(trees.sizes.tolist()):
        assert mask[b, 0].nonzero().flatten().tolist() == [0]
        for node in range(size):
            assert mask[b, node + 1].nonzero().flatten().tolist() == path(trees, b, node)


@given(tree_batches(), st.integers(0, 1000))
def test_position_is_root_plus_depth(trees: DraftTrees, start: int) -> None:
    roots = torch.arange(trees.batch_size) + start
    positions = row_positions(trees, roots)
    for b, size in enumerate(trees.sizes.tolist()):
        for node in range(size):
            assert positions[b, node + 1] == roots[b] + len(path(trees, b, node)) - 1


@given(tree_batches(), st.integers(0, 12), st.floats(-6, 0))
def test_pruning_keeps_the_best_connected_nodes(
    trees: DraftTrees, budget: int, floor: float
) -> None:
    kept = prune(trees, torch.full((trees.batch_size,), budget), floor)
    for b in range(trees.batch_size):
        before = trees.log_probs[b, : int(trees.sizes[b])].tolist()
        after = kept.log_probs[b, : int(kept.sizes[b])].tolist()
        expected = sorted((s for s in before if s >= torch.tensor(floor).item()), reverse=True)
        assert sorted(after, reverse=True) == pytest.approx(expected[:budget])
        for node in range(int(kept.sizes[b])):
            assert -1 <= int(kept.parents[b, node]) < node
            assert int(kept.depths[b, node]) == len(path(kept, b, node)) - 1


@given(tree_batches(), st.data(), st.sampled_from([float("-inf"), -1.0, -2.5]))
def test_pruning_is_that_of_each_tree_alone(
    trees: DraftTrees, data: st.DataObject, floor: float
) -> None:
    """Of equally likely nodes the first are kept."""
    budgets = [data.draw(st.integers(0, 12)) for _ in trees.sizes]
    expected = nodes(reference.pruned(trees, budgets, floor))
    assert nodes(prune(trees, torch.tensor(budgets), floor)) == expected
    wide = prune(trees, torch.tensor(budgets), floor, width=12)
    assert nodes(wide) == expected
    assert wide.max_nodes == trees.max_nodes


def test_impossible_nodes_are_never_kept() -> None:
    trees = from_parents([[1, 2, 3]], [[-1, -1, 1]], [[0.0, float("-inf"), float("-inf")]])
    assert prune(trees, torch.tensor([3])).token_lists() == [[1]]


@given(tree_batches(), st.data())
def test_any_prefix_is_a_tree(trees: DraftTrees, data: st.DataObject) -> None:
    sizes = torch.tensor([data.draw(st.integers(0, int(n))) for n in trees.sizes])
    cut = trees.truncated(sizes)
    mask = ancestor_mask(cut)
    for b, size in enumerate(sizes.tolist()):
        rows = mask[b, : size + 1]
        assert not rows[:, size + 1 :].any()  # nothing outside the prefix is needed


@given(tree_batches())
def test_the_main_path_goes_on_to_the_likeliest_child(trees: DraftTrees) -> None:
    kept = select(trees, main_path(trees))
    for b, size in enumerate(trees.sizes.tolist()):
        scores, parents = trees.log_probs[b, :size].tolist(), trees.parents[b, :size].tolist()
        expected, at = [], -1
        while children := [i for i, parent in enumerate(parents) if parent == at]:
            at = max(children, key=lambda i: scores[i])
            expected.append(int(trees.tokens[b, at]))
        assert kept.token_lists()[b] == expected
        assert kept.parents[b, : len(expected)].tolist() == list(range(-1, len(expected) - 1))


@given(tree_batches())
def test_selecting_all_changes_nothing(trees: DraftTrees) -> None:
    same = select(trees, torch.ones_like(trees.tokens, dtype=torch.bool))
    assert same.token_lists() == trees.token_lists()
    assert torch.equal(same.sizes, trees.sizes)


def test_chain_mask_is_causal() -> None:
    mask = ancestor_mask(chains([[5, 6, 7]]))[0]
    assert torch.equal(mask, torch.ones(4, 4).tril().bool())


def test_a_parent_must_come_first() -> None:
    with pytest.raises(ValueError, match=r"node 0 has parent 0; allowed: -1 to -1"):
        from_parents([[1]], [[0]])


def paths(trees: DraftTrees, b: int) -> set[tuple[int, ...]]:
    tokens = [0, *trees.tokens[b].tolist()]
    size = int(trees.sizes[b])
    return {tuple(tokens[r] for r in path(trees, b, n)[1:]) for n in range(size)}


def merge(left: DraftTrees, right: DraftTrees) -> DraftTrees:
    """The nodes of both, with the scores that they have."""
    joined = join(left, right, left.valid(), right.valid())
    return select(joined.trees, joined.keep)


@given(st.data())
def test_merged_tree_holds_the_paths_of_both(data: st.DataObject) -> None:
    left = data.draw(tree_batches(max_batch=1))
    right = data.draw(tree_batches(max_batch=1))
    both = merge(left, right)
    assert paths(both, 0) == paths(left, 0) | paths(right, 0)
    assert int(both.sizes[0]) == len(paths(both, 0))
    assert both.truncated(left.sizes).token_lists() == left.token_lists()


@given(st.data(), st.integers(1, 3))
def test_merging_is_that_of_each_pair_alone(data: st.DataObject, count: int) -> None:
    left, right = data.draw(batches_of(count)), data.draw(batches_of(count, 9))
    expected = reference.merge(left, right)
    assert nodes(merge(left, right)) == nodes(expected)
    budgets = [data.draw(st.integers(0, 15)) for _ in range(count)]
    best = reference.pruned(reference.falling(expected), budgets, float("-inf"))
    joined = join(left, right, left.valid(), right.valid())
    both = joined.raised()
    assert nodes(prune(both, torch.tensor(budgets))) == nodes(best)
    assert nodes(prune(both, torch.tensor(budgets), width=15)) == nodes(best)
    assert both.max_nodes == left.max_nodes + right.max_nodes


@given(st.data(), st.integers(1, 3))
def test_nodes_that_are_not_to_be_joined_are_as_if_they_were_not_there(
    data: st.DataObject, count: int
) -> None:
    """Any number of the likeliest are, of which the others are left out before or on the way."""
    left, right = data.draw(batches_of(count)), data.draw(batches_of(count))
    budgets = torch.tensor([data.draw(st.integers(0, 12)) for _ in range(count)])
    keep, also_keep = (likeliest(trees, budgets) for trees in (left, right))
    joined = join(left, right, keep, also_keep)
    found = select(joined.raised(), joined.keep)
    before = prune(left, budgets), prune(right, budgets)
    joined = join(*before, *(trees.valid() for trees in before))
    assert nodes(found) == nodes(select(joined.raised(), joined.keep))
