"""Sampling with trees is distributed as without: a permutation test, with a control that fails."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from .serving import Client, Plain

pytestmark = pytest.mark.engine
ASKED = (
    "Name a colour, then an animal, then a fruit, then a town."
    " Write no more than these four words, please."
)
# 35 tokens: one block of the prefix cache and three more, so that prefill costs little.
PROMPT = f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"
SAMPLES = 240
Joint = list[tuple[int, ...]]


def samples(client: Client, temperature: float) -> Joint:
    """Tokens 2 to 4 of unseeded answers: the ones that were verified in a tree."""
    params = {"max_tokens": 4, "temperature": temperature, "ignore_eos": True}
    found = client.complete_all([PROMPT] * SAMPLES, 40, **params)
    return [completion.tokens[1:] for completion in found]


def total_variation(left: Joint, right: Joint) -> float:
    a, b = Counter(left), Counter(right)
    return sum(abs(a[key] / len(left) - b[key] / len(right)) for key in a | b) / 2


def p_value(left: Joint, right: Joint, rounds: int = 500) -> float:
    """Share of random relabellings at least as far apart as the two samples."""
    random = np.random.default_rng(0)
    pooled = np.empty(len(left) + len(right), dtype=object)
    pooled[:] = [*left, *right]
    seen = total_variation(left, right)
    hits = 0
    for _ in range(rounds):
        order = random.permutation(pooled)
        hits += total_variation(list(order[: len(left)]), list(order[len(left) :])) >= seen
    return (hits + 1) / (rounds + 1)


def check_same_distribution(
    reference: Joint, control: Joint, drafted: Joint, colder: Joint
) -> None:
    """Plain and drafted samples are told apart no better than two plain ones.

    Plain ones at temperature 0.4 are told apart: the test can do it.
    """
    print(
        f"total variation: plain against itself {total_variation(reference, control):.3f},"
        f" trees {total_variation(reference, drafted):.3f},"
        f" at temperature 0.4 {total_variation(reference, colder):.3f}"
    )
    assert p_value(reference, control) > 0.002
    assert p_value(reference, drafted) > 0.002
    assert p_value(reference, colder) < 0.01


def test_trees_sample_as_the_plain_engine(plain: Plain, trees: Client) -> None:
    reference, control, colder = (samples(plain[0], t) for t in (1.0, 1.0, 0.4))
    check_same_distribution(reference, control, samples(trees, 1.0), colder)
