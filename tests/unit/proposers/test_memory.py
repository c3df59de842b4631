"""Answers of other requests are searched as well: of those of the same scope, and of no others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proposers.lookup import continuations
from proposers.memory import NOTHING, SLOTS, AnswerMemory, Others
from proposers.prompt_lookup import PromptLookupProposer

from . import reference
from .contexts import of_texts

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=4)


def answer(memory: AnswerMemory, prompt: list[int], tokens: Sequence[int], at_once: int) -> None:
    """A request in slot 0 is drafted after its first token, then after some at a time."""
    begun = of_texts([[*prompt, tokens[0]]])
    memory.start(begun, torch.tensor([1]))
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
    none, kept = NOTHING, memory.others(torch.tensor([1, 2]))
    assert kept.lines.tolist() == [[30, 31, 32, 33, none], [20, 21, 22, 23, none]]
    assert kept.seen.tolist() == [[True, True], [False, False]]


@given(st.data())
def test_nobody_sees_a_token_of_another_scope(data: st.DataObject) -> None:
    """Whatever starts and grows in whatever order, in more slots than are told apart, in fewer
    places than there are requests. Tokens tell whose they are."""
    memory, texts = AnswerMemory(data.draw(st.integers(1, 3)), 4), dict[int, list[int]]()
    owners = dict[int, int]()
    slots = st.sampled_from([0, 1, 2, SLOTS, SLOTS + 1])
    for _ in range(data.draw(st.integers(1, 15))):
        chosen = data.draw(st.lists(slots, min_size=1, max_size=4, unique=True))
        fresh = [slot not in texts or data.draw(st.booleans()) for slot in chosen]
        for slot in (slot for slot, new in zip(chosen, fresh, strict=True) if new):
            owners[slot], texts[slot] = data.draw(st.integers(0, 2)), [9, 9]
        for slot in chosen:
            texts[slot] = [*texts[slot], 100 + owners[slot]]
        now = [texts[slot] for slot in chosen]
        step = of_texts(now, slots=chosen, scopes=[owners[slot] for slot in chosen])
        assert step.scopes is not None
        if begun := [row for row, new in enumerate(fresh) if new]:
            part = step.part(begun)
            memory.start(part, part.scopes)
        memory.update(step)
        others = memory.others(step.scopes)
        for whose, seen in zip(step.scopes.tolist(), others.seen, strict=True):
            assert set(others.lines[seen].flatten().tolist()) <= {NOTHING, 100 + whose}
            assert whose or not seen.any()


@given(TEXTS, TEXTS, st.integers(2, 3), st.integers(1, 3), st.integers(1, 4))
def test_a_text_with_others_in_front_is_searched_like_one_text(
    texts: list[list[int]], others: list[list[int]], longest: int, count: int, depth: int
) -> None:
    """What the reference finds where each other text ends in tokens that nothing else has."""
    width = max(map(len, others)) + 1
    lines = torch.tensor([[*other, *[NOTHING] * (width - len(other))] for other in others])
    ngrams = range(longest, 1, -1)
    seen = torch.rand(len(texts), len(others)) < 0.7
    found = continuations(of_texts(texts, junk=1), ngrams, count, depth, Others(lines, seen))
    for b, text in enumerate(texts):
        apart: list[int] = []
        for i, other in enumerate(others):
            apart += other if seen[b, i] else []
            apart += range(1000 + 10 * i, 1000 + 10 * i + 5)
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


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("text", "tokens", "agreed"),
    [
        ([5, 1], None, 1),
        ([8, 9], [1, 2], 1),
        ([7, 8, 9], [1, 2], 2),
        ([9, 3, 8, 9], [1, 2], 1),
        ([8, 9, 3, 8, 9], [3, 8], 2),
        ([8, 9, 3, 7, 8, 9], [1, 2], 2),
        ([9, 3, 4, 9], [3, 4], 1),
    ],
)
def test_one_token_more_must_agree_in_anothers_answer(
    text: list[int], tokens: list[int] | None, agreed: int, count: int
) -> None:
    """A single token is none, and of as many tokens those in the own text count."""
    others = Others(torch.tensor([[7, 8, 9, 1, 2, NOTHING]]), torch.ones(1, 1, dtype=torch.bool))
    found = continuations(of_texts([text]), range(4, 0, -1), count, 2, others)
    assert found.agreed.tolist() == [agreed]
    assert (found.tokens[0, 0].tolist() if found.sizes[0, 0] else None) == tokens


@pytest.mark.parametrize(
    ("options", "first", "other", "proposed"),
    [
        ({}, [3], [3], [7, 8, 4]),
        ({}, [3], [4], []),
        ({}, [3], None, []),
        ({}, [0], [0], []),
        ({}, None, None, []),
        ({"share_answers": "all"}, [3], [4], [7, 8, 4]),
        ({"share_answers": "all"}, None, None, [7, 8, 4]),
        ({"remembered_answers": 0}, [3], [3], []),
        ({"remembered_answers": 0, "share_answers": "all"}, [3], [3], []),
    ],
)
def test_another_requests_answer_is_proposed_to_those_who_share_it(
    options: dict[str, object],
    first: list[int] | None,
    other: list[int] | None,
    proposed: list[int],
) -> None:
    proposer = PromptLookupProposer(None, {"tree_shape": [1, 1, 1], **options})
    begun = of_texts([[9, 5]], scopes=first)
    proposer.start(begun)
    proposer.propose(begun)
    proposer.propose(of_texts([[9, 5, 6, 7, 8, 4, 3]], new=[5], scopes=first))
    asks = of_texts([[1, 2, 5, 6]], scopes=other)
    proposer.start(asks)
    assert proposer.propose(asks).token_lists() == [proposed]


@pytest.mark.parametrize("options", [{"remembered_answers": -1}, {"remembered_tokens": 0.5}])
def test_wrong_numbers_are_one_line(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"remembered_.*expected whole numbers"):
        PromptLookupProposer(None, options)


def test_a_wrong_way_to_share_is_one_line() -> None:
    with pytest.raises(ValueError, match="share_answers='some': allowed are same_salt and all"):
        PromptLookupProposer(None, {"share_answers": "some"})
