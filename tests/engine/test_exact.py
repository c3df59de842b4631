"""float32, greedy, real servers: trees change no token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from .conftest import RULED, RULED_TOKENS, TOKENS
from .serving import Client, Completion, Plain, accepted, tokens

pytestmark = pytest.mark.engine


def test_concurrent_requests(plain: Plain, trees: Client, prompts: list[str]) -> None:
    before = accepted(trees)
    found = trees.complete_all(prompts, 6, max_tokens=TOKENS, temperature=0)
    assert tokens(found) == tokens(plain[1])
    generated = sum(len(completion.tokens) for completion in found)
    assert accepted(trees) - before > generated / 4  # drafts were accepted, not only proposed
    assert trees.counter("vllm:spec_decode_num_draft_tokens_total") > 2 * generated


def test_one_at_a_time_with_prefix_hits(plain: Plain, trees: Client, prompts: list[str]) -> None:
    """The second time, prompts come from the prefix cache: the draft has no saved state either."""
    trees.complete_all(prompts[:4], 4, max_tokens=1, temperature=0)
    before = trees.counter("vllm:prefix_cache_hits_total")
    found = trees.complete_all(prompts[:4], 1, max_tokens=TOKENS, temperature=0)
    assert tokens(found) == tokens(plain[1][:4])
    assert trees.counter("vllm:prefix_cache_hits_total") > before


def test_running_into_the_length_limit(plain: Plain, trees: Client, prompts: list[str]) -> None:
    long = prompts[0] + "and " * 930
    asked = {"model": plain[0].model, "prompt": long}
    room = 1024 - plain[0].http.post("/tokenize", json=asked).json()["count"]
    pair = [c.complete(long, max_tokens=room, temperature=0) for c in (plain[0], trees)]
    assert pair[0] == pair[1]
    assert pair[1].finish == "length"
    assert len(pair[1].tokens) == room


def test_stop_strings_and_end_of_text(plain: Plain, trees: Client, prompts: list[str]) -> None:
    params = {"max_tokens": 48, "temperature": 0, "stop": ["."]}
    pair = [c.complete_all(prompts[:4], 4, **params) for c in (plain[0], trees)]
    assert tokens(pair[0]) == tokens(pair[1])
    assert "stop" in [completion.finish for completion in pair[1]]


def test_seeded_sampling_is_the_same_token_for_token(
    plain: Plain, trees: Client, prompts: list[str]
) -> None:
    """The walk draws at the rows it visits only, so a seed gives the plain engine's text."""
    params = {"max_tokens": 24, "temperature": 0.8, "top_p": 0.9, "top_k": 40, "seed": 3}
    pair = [c.complete_all(prompts[:4], 4, logprobs=3, **params) for c in (plain[0], trees)]
    assert tokens(pair[0]) == tokens(pair[1])
    for left, right in zip(*pair, strict=True):
        assert left.logprobs == pytest.approx(right.logprobs, abs=2e-3)


NESTED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "inner": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    },
    "required": ["name", "inner"],
}
FEATURES: dict[str, dict[str, Any]] = {
    "none": {},
    "presence and repetition penalty": {"presence_penalty": 1.0, "repetition_penalty": 1.2},
    "Qwen2.5's repetition penalty": {"repetition_penalty": 1.05},
    "frequency penalty": {"frequency_penalty": 0.7},
    "seeded, with a penalty": {"repetition_penalty": 1.3, "temperature": 0.7, "seed": 5},
    "min_tokens": {"min_tokens": 20},
    "bad_words": {"bad_words": ["the", "and"]},
    "allowed_token_ids": {"allowed_token_ids": list(range(200, 4000))},
    "regex": {"structured_outputs": {"regex": "[a-z ]{20,40}"}},
    "choice": {"structured_outputs": {"choice": ["yes, certainly", "no, never"]}},
    "JSON schema": {"structured_outputs": {"json": NESTED}},
    "a budget of thinking": {"thinking_token_budget": 9},
    "no thinking": {"thinking_token_budget": 0},
    "thinking, with a penalty": {"thinking_token_budget": 5, "repetition_penalty": 1.2},
    "logprobs": {"logprobs": 5},
}
RULES = [name for name in FEATURES if name not in ("none", "logprobs", "choice")]


@pytest.fixture(scope="module")
def mixed(
    plain: Plain, trees: Client, prompts: list[str]
) -> dict[str, tuple[list[Completion], list[Completion]]]:
    """Each feature's answers to some prompts, stock and with trees; all features in one batch."""
    jobs = [(prompt, feature) for feature in FEATURES for prompt in prompts[:RULED]]

    def answer(client: Client, job: tuple[str, str]) -> Completion:
        asked = {"max_tokens": RULED_TOKENS, "temperature": 0, **FEATURES[job[1]]}
        return client.complete(job[0], **asked)

    with ThreadPoolExecutor(len(jobs)) as pool:
        left, right = (list(pool.map(partial(answer, c), jobs)) for c in (plain[0], trees))
    at = {name: slice(RULED * i, RULED * (i + 1)) for i, name in enumerate(FEATURES)}
    return {feature: (left[rows], right[rows]) for feature, rows in at.items()}


@pytest.mark.parametrize("feature", FEATURES)
def test_per_request_features_in_a_mixed_batch(
    mixed: dict[str, tuple[list[Completion], list[Completion]]], feature: str
) -> None:
    """As in the stock engine, beside requests that are drafted."""
    left, right = mixed[feature]
    assert tokens(left) == tokens(right)
    for a, b in zip(left, right, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-3)


@pytest.mark.parametrize("feature", RULES)
def test_requests_with_rules_of_their_own_are_drafted(
    trees: Client, prompts: list[str], feature: str
) -> None:
    before = accepted(trees)
    asked = {"max_tokens": RULED_TOKENS, "temperature": 0, **FEATURES[feature]}
    found = trees.complete_all(prompts[:RULED], RULED, **asked)
    generated = sum(len(completion.tokens) for completion in found)
    share = (accepted(trees) - before) / generated
    print(f"{feature}: AL effective {1 / (1 - share):.2f} over {generated} tokens")
    assert share > 0.05
