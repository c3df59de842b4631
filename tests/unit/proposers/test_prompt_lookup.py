"""Branches from the request's own context."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.base import DraftContext
from proposers.prompt_lookup import PromptLookupProposer, match_ends


def context(*requests: list[int], budget: int = 64) -> DraftContext:
    return DraftContext(
        request_ids=list(range(len(requests))),
        token_ids=[np.array(tokens) for tokens in requests],
        hidden_states=None,
        target_kv=None,  # type: ignore[arg-type]
        budgets=torch.full((len(requests),), budget),
    )


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 4))
def test_matches_are_all_earlier_occurrences(tokens: list[int], n: int) -> None:
    expected = [
        end for end in range(n, len(tokens)) if tokens[end - n : end] == tokens[len(tokens) - n :]
    ]
    assert match_ends(np.array(tokens), n).tolist() == expected


def test_two_continuations_share_their_beginning() -> None:
    proposer = PromptLookupProposer(None, {"tree_shape": [2, 2, 2]})
    trees = proposer.propose(context([1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2]))
    assert trees.token_lists() == [[3, 5, 4, 9, 9]]
    assert trees.parents[0].tolist() == [-1, 0, 0, 1, 2]


def test_nothing_found_and_budget() -> None:
    proposer = PromptLookupProposer(None, {})
    trees = proposer.propose(context([1, 2, 3], [1, 2, 1, 2, 1, 2], budget=1))
    assert trees.sizes.tolist() == [0, 1]


@pytest.mark.parametrize(
    "options", [{"tree": [1]}, {"tree_shape": []}, {"min_ngram": 5}, {"min_ngram": 0}]
)
def test_bad_options_are_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"allowed|expected") as caught:
        PromptLookupProposer(None, options)
    assert "\n" not in str(caught.value)
