"""Sampling with trees is distributed as without: a permutation test, with a control that fails."""

from __future__ import annotations

from typing import Any

import pytest

from ..test_sampling import PROMPT, Joint, check_same_distribution
from .serving import Client

pytestmark = pytest.mark.engine
SAMPLES = 240
FILTERS = {"top_k": 60, "top_p": 0.97, "min_p": 0.005, "ignore_eos": True}


def samples(client: Client, **params: Any) -> Joint:
    """Tokens 2 and 3 of the answers: the ones that were verified in a tree."""
    found = client.generate_all([PROMPT] * SAMPLES, 40, 3, **FILTERS, **params)
    return [answer.tokens[1:] for answer in found]


def test_trees_sample_as_the_plain_engine(plain: Client, trees: Client) -> None:
    reference, control, colder = (samples(plain, temperature=t) for t in (1.0, 1.0, 0.4))
    check_same_distribution(reference, control, samples(trees, temperature=1.0), colder)
