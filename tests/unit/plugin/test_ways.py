"""Which requests are drafted a tree, a chain, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs the engine: make setup")

from vllm import SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from longspec_plugin.vllm.ways import Way

GRAMMAR = StructuredOutputsParams(regex="a+")


@pytest.mark.parametrize(
    ("params", "drafted", "chained", "timed", "bare"),
    [
        ({}, True, False, False, True),
        (
            {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 3, "logprobs": 2},
            True,
            False,
            False,
            True,
        ),
        ({"repetition_penalty": 1.05}, True, False, False, False),
        ({"frequency_penalty": -0.5}, True, False, False, False),
        ({"presence_penalty": 1.0}, True, False, False, False),
        ({"min_tokens": 3}, True, False, False, False),
        ({"bad_words": ["no"]}, True, False, False, False),
        ({"allowed_token_ids": [1, 2]}, True, False, False, False),
        ({"structured_outputs": GRAMMAR}, True, True, False, False),
        ({"thinking_token_budget": 0}, True, False, True, False),
        ({"logprob_token_ids": [1, 2]}, False, False, False, True),
    ],
)
def test_by_sampling_parameters(
    params: dict[str, Any], drafted: bool, chained: bool, timed: bool, bare: bool
) -> None:
    way = Way.of(SamplingParams(**params))
    assert (way.drafted, way.chained, way.timed, way.bare) == (drafted, chained, timed, bare)


def test_what_samples_nothing_is_not_drafted() -> None:
    assert not Way.of(None).drafted
