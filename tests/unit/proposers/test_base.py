"""The contract: what a step tells of its requests, and proposers written in Python."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.base import HostProposer

from .contexts import nodes, of_texts, texts_of

TEXTS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=4)


@given(TEXTS, st.integers(1, 15))
def test_a_step_tells_the_last_tokens_of_each_text(texts: list[list[int]], count: int) -> None:
    context = of_texts(texts, junk=99)
    assert context.roots().tolist() == [text[-1] for text in texts]
    tokens, positions = context.recent(count)
    for b, text in enumerate(texts):
        missing = max(count - len(text), 0)
        assert tokens[b].tolist() == [text[0]] * missing + text[-count:]
        first = max(len(text) - count, 0)
        assert positions[b].tolist() == [0] * missing + list(range(first, len(text)))
    longest = max(map(len, texts))
    assert context.lines().shape[1] == longest
    assert replace(context, static=True).lines().shape == context.token_ids.shape


def test_a_part_is_a_step_of_its_requests() -> None:
    texts = [[1, 2], [3], [4, 5, 6]]
    whole = replace(of_texts(texts, new=[2, 1, 3]), hidden_states=torch.arange(3.0)[:, None])
    for index in ([2, 0], torch.tensor([2, 0])):
        part = whole.part(index)
        assert texts_of(part) == [texts[2], texts[0]]
        assert part.slots.tolist() == [2, 0]
        assert part.num_new.tolist() == [3, 2]
        assert part.hidden_states is not None
        assert part.hidden_states.flatten().tolist() == [2, 0]
        assert part.target_kv is whole.target_kv


class Echo(HostProposer):
    """Each text again, as a chain; keeps what it was given."""

    max_nodes = max_depth = 5

    def __init__(self) -> None:
        self.given: list[tuple[np.ndarray, int]] = []

    def draft(self, tokens: np.ndarray, budget: int) -> tuple[list[int], list[int]]:
        self.given.append((tokens, budget))
        return tokens.tolist()[:budget], list(range(-1, min(len(tokens), budget) - 1))


def test_a_python_proposer_gets_each_text_that_may_have_a_tree() -> None:
    proposer = Echo()
    assert proposer.host
    asked = of_texts([[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]], junk=99)
    asked.budgets.copy_(torch.tensor([2, 0, 3, -1]))
    trees = proposer.propose(asked)
    assert [(tokens.tolist(), budget) for tokens, budget in proposer.given] == [
        ([1, 2, 3], 2),
        ([5, 6], 3),
    ]
    assert all(tokens.dtype == np.int64 for tokens, _ in proposer.given)
    assert trees.token_lists() == [[1, 2], [], [5, 6], []]
    assert [[parent for _, parent, *_ in row] for row in nodes(trees)] == [[-1, 0], [], [-1, 0], []]
    assert trees.levels == 2
