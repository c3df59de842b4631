"""Random draft trees for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from proposers.tree import DraftTrees, from_parents


@st.composite
def tree_batches(draw: st.DrawFn, max_batch: int = 4, max_nodes: int = 12) -> DraftTrees:
    """Batches of trees with few token values, no two equal siblings, breadth-first order."""
    return draw(batches_of(draw(st.integers(1, max_batch)), max_nodes))


@st.composite
def batches_of(draw: st.DrawFn, count: int, max_nodes: int = 12) -> DraftTrees:
    """The same, ``count`` trees. Many scores are equal."""
    tokens, parents, scores = [], [], []
    for _ in range(count):
        one = draw(breadth_first_parents(max_nodes))
        parents.append(one)
        tokens.append(_distinct_siblings(draw, one))
        scores.append(_falling_scores(draw, one))
    return from_parents(tokens, parents, scores)


@st.composite
def breadth_first_parents(draw: st.DrawFn, max_nodes: int) -> list[int]:
    parents: list[int] = []
    lowest = -1
    for node in range(draw(st.integers(0, max_nodes))):
        lowest = draw(st.integers(lowest, node - 1))
        parents.append(lowest)
    return parents


def _distinct_siblings(draw: st.DrawFn, parents: list[int]) -> list[int]:
    taken: dict[int, int] = {}
    first = draw(st.integers(0, 3))
    tokens = []
    for parent in parents:
        taken[parent] = taken.get(parent, first) + 1
        tokens.append(taken[parent])
    return tokens


def _falling_scores(draw: st.DrawFn, parents: list[int]) -> list[float]:
    scores: list[float] = []
    for parent in parents:
        above = scores[parent] if parent >= 0 else 0.0
        scores.append(above - draw(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 3, width=32)))
    return scores
