"""Answers of other requests are searched as well, and none where none is remembered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.lookup import continuations
from proposers.memory import NOTHING, AnswerMemory
from proposers.prompt_lookup import PromptLookupProposer

from . import reference
from .contexts import of_texts

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=4)


def answer(memory: AnswerMemory, prompt: list[int], tokens: Sequence[int], at_once: int) -> None:
    """A request in slot 0 is drafted after its first token, then after some at a time."""
    begun = of_texts([[*prompt, tokens[0]]])
    memory.start(begun)
    memory.update(begun)
    known = 1
    while known < len(tokens):
        new = min(at_once, len(tokens) - known)
        known += new
        memory.update(of_texts([[*prompt, *tokens[:known]]], new=[new]))


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_the_last_answers_are_kept_and_no_prompt(at_once: int) -> None:
    memory = AnswerMemory(2, 4)
    for number in (10, 20, 30):
        answer(memory, [1, 2, 3], range(number, number + 6), at_once)
    none = NOTHING
    assert memory.lines().tolist() == [[30, 31, 32, 33, none], [20, 21, 22, 23, none]]


@given(TEXTS, TEXTS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_a_text_with_others_in_front_is_searched_like_one_text(
    texts: list[list[int]], others: list[list[int]], longest: int, count: int, depth: int
) -> None:
    """What the reference finds where each other text ends in tokens that nothing else has."""
    width = max(map(len, others)) + 1
    lines = torch.tensor([[*other, *[NOTHING] * (width - len(other))] for other in others])
    apart: list[int] = []
    for i, other in enumerate(others):
        apart += [*other, *range(1000 + 10 * i, 1000 + 10 * i + 5)]
    ngrams = range(longest, 0, -1)
    found = continuations(of_texts(texts, junk=1), ngrams, count, depth, lines)
    for b, text in enumerate(texts):
        expected = [
            [token for token in tokens if token < 1000]
            for tokens in reference.continuations([*apart, *text], ngrams, 50, depth)
        ]
        kept: list[list[int]] = []
        for tokens in expected:
            if tokens and not any(known[: len(tokens)] == tokens for known in kept):
                kept.append(tokens)
        pairs = zip(found.tokens[b].tolist(), found.sizes[b].tolist(), strict=True)
        assert [tokens[:size] for tokens, size in pairs if size] == kept[:count]


def test_another_requests_answer_is_proposed() -> None:
    options = {"tree_shape": [1, 1, 1], "remembered_answers": 4, "remembered_tokens": 16}
    proposer, alone = PromptLookupProposer(None, options), PromptLookupProposer(None, {})
    first = of_texts([[9, 5, 6, 7, 8, 4, 3]], new=[5])
    begun = of_texts([[9, 5]])
    proposer.start(begun)
    proposer.propose(begun)
    proposer.propose(first)
    other = of_texts([[1, 2, 5, 6]])
    proposer.start(other)
    assert proposer.propose(other).token_lists() == [[7, 8, 4]]
    assert alone.propose(other).token_lists() == [[]]


@pytest.mark.parametrize("options", [{"remembered_answers": -1}, {"remembered_tokens": 0.5}])
def test_wrong_numbers_are_one_line(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"remembered_.*expected whole numbers"):
        PromptLookupProposer(None, options)
