"""Sampling with trees is distributed as without: a permutation test, with a control that fails."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from .serving import Client, Completion

pytestmark = pytest.mark.engine
PROMPT = "<|im_start|>user\nName a colour, then an animal.<|im_end|>\n<|im_start|>assistant\n"
SAMPLES = 240
Joint = list[tuple[int, ...]]


def samples(client: Client, temperature: float) -> Joint:
    """Tokens 2 to 4 of unseeded answers: the ones that were verified in a tree."""
    params = {"max_tokens": 4, "temperature": temperature, "ignore_eos": True}
    found = client.complete_all([PROMPT] * SAMPLES, 16, **params)
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
    """Plain and drafted samples are told apart no better than two plain ones; colder ones are."""
    print(
        f"total variation: plain against itself {total_variation(reference, control):.3f},"
        f" trees {total_variation(reference, drafted):.3f},"
        f" trees at temperature 0.7 {total_variation(reference, colder):.3f}"
    )
    assert p_value(reference, control) > 0.002
    assert p_value(reference, drafted) > 0.002
    assert p_value(reference, colder) < 0.01  # the test can tell distributions apart


def test_trees_sample_as_the_plain_engine(
    plain: tuple[Client, list[Completion]], trees: Client
) -> None:
    reference, control = samples(plain[0], 1.0), samples(plain[0], 1.0)
    check_same_distribution(reference, control, samples(trees, 1.0), samples(trees, 0.7))
