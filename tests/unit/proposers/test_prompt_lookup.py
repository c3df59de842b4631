"""Branches from the request's own context."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.lookup import _agreement, continuations
from proposers.prompt_lookup import PromptLookupProposer

from . import reference
from .contexts import first_trees, nodes, of_texts

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=4)


@given(TEXTS, st.integers(1, 5), st.integers(0, 2))
def test_agreement_is_that_of_all_earlier_occurrences(
    texts: list[list[int]], longest: int, junk: int
) -> None:
    context = of_texts(texts, junk=junk)
    found = _agreement(context.lines(), context.lengths, longest)
    for text, row in zip(texts, found.tolist(), strict=True):
        for n in range(1, longest + 1):
            ends = [end for end in range(len(text)) if row[end] >= n]
            assert ends == reference.match_ends(text, n)


@given(TEXTS, st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 4))
def test_continuations_are_those_of_each_text_alone(
    texts: list[list[int]], shortest: int, more: int, count: int, depth: int
) -> None:
    ngrams = range(shortest + more, shortest - 1, -1)
    for static in (False, True):
        found = continuations(of_texts(texts, junk=1, static=static), ngrams, count, depth)
        assert found.tokens.shape == (len(texts), count, depth)
        for b, text in enumerate(texts):
            expected = reference.continuations(text, ngrams, count, depth)
            pairs = zip(found.tokens[b].tolist(), found.sizes[b].tolist(), strict=True)
            assert [tokens[:size] for tokens, size in pairs if size] == expected
            assert int(found.agreed[b]) == reference.agreement(text, ngrams)


@given(TEXTS, st.integers(1, 3), st.integers(1, 4), st.data())
def test_trees_are_those_of_each_text_alone(
    texts: list[list[int]], branches: int, depth: int, data: st.DataObject
) -> None:
    shape = [branches] * depth
    proposer = PromptLookupProposer(None, {"tree_shape": shape, "min_ngram": 1, "max_ngram": 3})
    budgets = [data.draw(st.integers(0, sum(shape) + 1)) for _ in texts]
    asked = replace(of_texts(texts, junk=2), budgets=torch.tensor(budgets))
    trees = proposer.propose(asked)
    for b, text in enumerate(texts):
        found = reference.continuations(text, proposer.ngrams, branches, depth)
        tokens, parents = reference.tree_of(found, budgets[b])
        size = int(trees.sizes[b])
        assert trees.tokens[b, :size].tolist() == tokens
        assert trees.parents[b, :size].tolist() == parents
        expected = trees.depths[b, :size] * math.log(0.5)
        torch.testing.assert_close(trees.log_probs[b, :size], expected)
    static = proposer.propose(replace(asked, static=True))
    assert nodes(static) == nodes(trees)
    assert static.max_nodes == proposer.max_nodes


def test_two_continuations_share_their_beginning() -> None:
    proposer = PromptLookupProposer(None, {"tree_shape": [2, 2, 2]})
    trees = first_trees(proposer, of_texts([[1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2]]))
    assert trees.token_lists() == [[3, 5, 4, 9, 9]]
    assert trees.parents[0].tolist() == [-1, 0, 0, 1, 2]


def test_nothing_found_and_budget() -> None:
    proposer = PromptLookupProposer(None, {})
    asked = of_texts([[1, 2, 3], [1, 2, 1, 2, 1, 2], [1, 2, 1, 2, 1, 2]], budget=1)
    asked.budgets[2] = 0
    assert proposer.propose(asked).sizes.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "options", [{"tree": [1]}, {"tree_shape": []}, {"min_ngram": 5}, {"min_ngram": 0}]
)
def test_bad_options_are_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"allowed|expected") as caught:
        PromptLookupProposer(None, options)
    assert "\n" not in str(caught.value)
