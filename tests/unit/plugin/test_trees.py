"""What is scheduled is verified as the tree it came from, or as a chain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from longspec_plugin.vllm.v1.trees import TreeBook
from proposers.tree import DraftTrees, from_parents
from tests.unit.proposers.strategies import tree_batches


@given(tree_batches(), st.data())
def test_prefixes_are_recalled_as_trees(trees: DraftTrees, data: st.DataObject) -> None:
    book = TreeBook()
    lists = book.remember(list(range(trees.batch_size)), trees)
    cuts = [data.draw(st.integers(0, len(row))) for row in lists]
    order = data.draw(st.permutations(range(trees.batch_size)))
    recalled = book.recall([(r, lists[r][: cuts[r]]) for r in order])
    for row, request in enumerate(order):
        size = cuts[request]
        assert int(recalled.sizes[row]) == size
        assert recalled.parents[row, :size].tolist() == trees.parents[request, :size].tolist()


def test_anything_else_is_a_chain() -> None:
    book = TreeBook()
    book.remember(["a", "b"], from_parents([[1, 2], [3, 4]], [[-1, -1], [-1, -1]]))
    recalled = book.recall([("a", [1, 9]), ("b", [3, 4]), ("new", [5, 6]), ("c", [])])
    assert recalled.parents[0].tolist() == [-1, 0]
    assert recalled.parents[1].tolist() == [-1, -1]
    assert recalled.parents[2].tolist() == [-1, 0]
    assert recalled.sizes.tolist() == [2, 2, 2, 0]


def test_nothing_was_drafted_yet() -> None:
    assert TreeBook().recall([("a", []), ("b", [7])]).sizes.tolist() == [0, 1]
