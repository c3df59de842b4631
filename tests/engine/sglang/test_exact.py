"""float32, greedy, real SGLang servers: trees change no token."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import dill
import pytest

from ..breaking import FACTS
from ..conftest import RULED, RULED_TOKENS
from .conftest import TOKENS
from .processor import NoEcho
from .serving import Answer, Client, acceptance_length, tokens

pytestmark = pytest.mark.engine


def test_concurrent_requests(trees: Client, expected: list[Answer], prompts: list[str]) -> None:
    found = trees.generate_all(prompts, 6, TOKENS)
    assert tokens(found) == tokens(expected)
    assert acceptance_length(found) > 1.4  # drafts were really accepted, not only proposed


def test_prefix_hits(trees: Client, expected: list[Answer], prompts: list[str]) -> None:
    """Prompts come from the radix cache: the draft has no saved state either."""
    trees.generate_all(prompts[:4], 4, 1)
    found = trees.generate_all(prompts[:4], 2, TOKENS)
    assert tokens(found) == tokens(expected[:4])
    assert min(answer.meta["cached_tokens"] for answer in found) > 0


def test_stop_strings_and_end_of_text(plain: Client, trees: Client, prompts: list[str]) -> None:
    pair = [client.generate_all(prompts[:3], 3, 48, stop=["."]) for client in (plain, trees)]
    assert [a.text for a in pair[0]] == [a.text for a in pair[1]]
    assert tokens(pair[0]) == tokens(pair[1])
    question = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    ends = [client.generate(question, 32) for client in (plain, trees)]
    assert ends[0].tokens == ends[1].tokens
    assert ends[1].meta["finish_reason"]["type"] == "stop"
    goes_on = [client.generate(question, 16, ignore_eos=True) for client in (plain, trees)]
    assert goes_on[0].tokens == goes_on[1].tokens
    assert len(goes_on[1].tokens) == 16


def test_running_into_the_length_limit(plain: Client, trees: Client, prompts: list[str]) -> None:
    long = prompts[0] + "and " * 930
    room = 1024 - plain.generate(long, 1).meta["prompt_tokens"]  # SGLang refuses to ask for more
    pair = [client.generate(long, room, ignore_eos=True) for client in (plain, trees)]
    assert pair[0].tokens == pair[1].tokens
    assert pair[1].meta["finish_reason"]["type"] == "length"


NESTED = json.dumps(FACTS["schema"])
NO_ECHO = json.dumps({"callable": dill.dumps(NoEcho).hex()})
FEATURES: dict[str, dict[str, Any]] = {
    "none": {},
    "presence and repetition penalty": {"presence_penalty": 1.0, "repetition_penalty": 1.2},
    "Qwen2.5's repetition penalty": {"repetition_penalty": 1.05},
    "frequency penalty": {"frequency_penalty": 0.7},
    "min_new_tokens": {"min_new_tokens": 20},
    "all penalties": {"repetition_penalty": 1.3, "frequency_penalty": 0.3, "min_new_tokens": 8},
    "logit_bias": {"logit_bias": {"260": 3.0, "28": -5.0}},
    "regex": {"regex": "[a-z ]{20,40}"},
    "choice": {"ebnf": 'root ::= "yes, certainly" | "no, never"'},
    "JSON schema": {"json_schema": NESTED},
    "a penalty and JSON": {"json_schema": NESTED, "repetition_penalty": 1.1},
    "a processor that reads the text": {
        "custom_logit_processor": NO_ECHO,
        "custom_params": {"n": 3},
    },
    "logprobs": {"logprobs": 3},
    "logprobs and a penalty": {"logprobs": 3, "repetition_penalty": 1.2},
}
RULES = [name for name in FEATURES if name not in ("none", "logprobs", "choice", "logit_bias")]


@pytest.fixture(scope="module")
def mixed(
    plain: Client, trees: Client, prompts: list[str]
) -> dict[str, tuple[list[Answer], list[Answer]]]:
    """Each feature's answers to some prompts, stock and with trees; all features in one batch."""
    jobs = [(prompt, feature) for feature in FEATURES for prompt in prompts[:RULED]]

    def answer(client: Client, job: tuple[str, str]) -> Answer:
        return client.generate(job[0], RULED_TOKENS, **FEATURES[job[1]])

    with ThreadPoolExecutor(len(jobs)) as pool:
        left, right = (list(pool.map(partial(answer, c), jobs)) for c in (plain, trees))
    at = {name: slice(RULED * i, RULED * (i + 1)) for i, name in enumerate(FEATURES)}
    return {feature: (left[rows], right[rows]) for feature, rows in at.items()}


@pytest.mark.parametrize("feature", FEATURES)
def test_per_request_features_in_a_mixed_batch(
    mixed: dict[str, tuple[list[Answer], list[Answer]]], feature: str
) -> None:
    """As in the stock engine, beside requests that are drafted."""
    left, right = mixed[feature]
    assert tokens(left) == tokens(right)
    for a, b in zip(left, right, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-3)
        tops = [answer.meta.get("output_top_logprobs", ()) for answer in (a, b)]
        assert [[t[1] for t in row] for row in tops[0]] == [[t[1] for t in row] for row in tops[1]]


@pytest.mark.parametrize("feature", RULES)
def test_requests_with_rules_of_their_own_are_drafted(
    mixed: dict[str, tuple[list[Answer], list[Answer]]], feature: str
) -> None:
    found = mixed[feature][1]
    print(f"{feature}: AL {acceptance_length(found):.2f}")
    assert acceptance_length(found) > 1.05
