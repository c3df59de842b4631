"""float32, greedy, real SGLang servers: trees change no token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .breaking import PARTS
from .conftest import COUNT, TOKENS
from .serving import Answer, Client, acceptance_length, tokens

pytestmark = pytest.mark.engine


def test_concurrent_requests(trees: Client, expected: list[Answer], prompts: list[str]) -> None:
    found = trees.generate_all(prompts, 6, TOKENS)
    assert tokens(found) == tokens(expected)
    assert acceptance_length(found) > 1.4  # drafts were really accepted, not only proposed


def test_prefix_hits(trees: Client, expected: list[Answer], prompts: list[str]) -> None:
    """Prompts come from the radix cache: the draft has no saved state either."""
    trees.generate_all(prompts, 4, 1)
    found = trees.generate_all(prompts, 2, TOKENS)
    assert tokens(found) == tokens(expected)
    assert min(answer.meta["cached_tokens"] for answer in found) > 0


def test_pages_chunks_and_retraction(
    tight: Client, expected: list[Answer], prompts: list[str]
) -> None:
    found = tight.generate_all(prompts, 6, TOKENS)
    assert tokens(found) == tokens(expected)
    assert tight.counter("sglang:num_retracted_requests_total") > 0


@pytest.mark.parametrize("part", PARTS)
def test_breaking_a_part_changes_the_output(
    tight: Client, switch: Path, expected: list[Answer], prompts: list[str], part: str
) -> None:
    """Negative control: without this part the method is not exact."""
    count = min(COUNT, 6)
    tight.flush()
    switch.write_text(part)
    try:
        found = tight.generate_all(prompts[:count], 6, TOKENS)
    finally:
        switch.write_text("")
    tight.flush()  # what was broken must not be found again
    changed = sum(a != b for a, b in zip(tokens(found), tokens(expected), strict=False))
    print(f"without {part}: {changed} of {count} outputs differ")
    assert changed >= count // 2


def test_stop_strings_and_end_of_text(plain: Client, trees: Client, prompts: list[str]) -> None:
    pair = [client.generate_all(prompts[:4], 4, 64, stop=["."]) for client in (plain, trees)]
    assert [a.text for a in pair[0]] == [a.text for a in pair[1]]
    assert tokens(pair[0]) == tokens(pair[1])
    question = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    ends = [client.generate(question, 64) for client in (plain, trees)]
    assert ends[0].tokens == ends[1].tokens
    assert ends[1].meta["finish_reason"]["type"] == "stop"
    goes_on = [client.generate(question, 64, ignore_eos=True) for client in (plain, trees)]
    assert goes_on[0].tokens == goes_on[1].tokens
    assert len(goes_on[1].tokens) == 64


def test_running_into_the_length_limit(plain: Client, trees: Client, prompts: list[str]) -> None:
    long = prompts[0] + "and " * 830
    room = 1024 - plain.generate(long, 1).meta["prompt_tokens"]  # SGLang refuses to ask for more
    pair = [client.generate(long, room, ignore_eos=True) for client in (plain, trees)]
    assert pair[0].tokens == pair[1].tokens
    assert pair[1].meta["finish_reason"]["type"] == "length"


@pytest.mark.parametrize(
    "params",
    [
        {"presence_penalty": 1.0, "repetition_penalty": 1.2},
        {"frequency_penalty": 0.7},
        {"min_new_tokens": 30},
        {"logit_bias": {"260": 3.0, "28": -5.0}},
        {"regex": "[a-z ]{20,40}"},
        {"logprobs": 3},
    ],
    ids=lambda params: next(iter(params)),
)
def test_per_request_features_in_a_mixed_batch(
    plain: Client, trees: Client, prompts: list[str], params: dict[str, Any]
) -> None:
    """Beside drafted requests, in the same batch, as in the stock engine."""

    def both(client: Client) -> list[Answer]:
        jobs = [(prompt, params if i % 2 else {}) for i, prompt in enumerate(prompts[:4])]
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda job: client.generate(job[0], 32, **job[1]), jobs))

    left, right = both(plain), both(trees)
    assert tokens(left) == tokens(right)
    for a, b in zip(left, right, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-3)
        tops = [answer.meta.get("output_top_logprobs", ()) for answer in (a, b)]
        assert [[t[1] for t in row] for row in tops[0]] == [[t[1] for t in row] for row in tops[1]]
