"""float32, greedy, real servers: trees change no token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import TOKENS
from .serving import Client, Completion, serve

pytestmark = pytest.mark.engine
Plain = tuple[Client, list[Completion]]


def tokens(completions: list[Completion]) -> list[tuple[int, ...]]:
    return [completion.tokens for completion in completions]


def accepted(client: Client) -> float:
    return client.counter("vllm:spec_decode_num_accepted_tokens_total")


def test_concurrent_requests(plain: Plain, trees: Client, prompts: list[str]) -> None:
    before = accepted(trees)
    found = trees.complete_all(prompts, 6, max_tokens=TOKENS, temperature=0)
    assert tokens(found) == tokens(plain[1])
    assert accepted(trees) - before > 200  # drafts were really accepted, not only proposed
    assert trees.counter("vllm:spec_decode_num_draft_tokens_total") > 3000


def test_one_at_a_time_with_prefix_hits(plain: Plain, trees: Client, prompts: list[str]) -> None:
    """The second time, prompts come from the prefix cache: the draft has no saved state either."""
    trees.complete_all(prompts[:8], 4, max_tokens=1, temperature=0)
    before = trees.counter("vllm:prefix_cache_hits_total")
    found = trees.complete_all(prompts[:8], 1, max_tokens=TOKENS, temperature=0)
    assert tokens(found) == tokens(plain[1][:8])
    assert trees.counter("vllm:prefix_cache_hits_total") > before


def test_chunked_prefill_and_preemption(
    plain: Plain, target_dir: Path, draft_dir: Path, prompts: list[str], logs: Path
) -> None:
    """96 tokens a step cut prompts in pieces; too few blocks force requests out and back."""
    small = ("--max-num-batched-tokens", "96", "--max-num-seqs", "8")
    few = ("--num-gpu-blocks-override", "38")
    wide = {"tree_shape": [8, 8, 8, 8], "nodes": 16, "min_probability": 0}
    config = {"method": "longspec", "model": str(draft_dir), **wide}
    with serve(target_dir, logs / "small.log", config, *small, *few) as client:
        found = client.complete_all(prompts, 8, max_tokens=TOKENS, temperature=0)
        assert tokens(found) == tokens(plain[1])
        assert client.counter("vllm:num_preemptions_total") > 0
        assert accepted(client) > 200
        seeded = {"max_tokens": 24, "temperature": 0.9, "seed": 11}
        again = [client.complete_all(prompts[:6], 6, **seeded) for _ in range(2)]
        assert tokens(again[0]) == tokens(again[1])


def test_running_into_the_length_limit(plain: Plain, trees: Client, prompts: list[str]) -> None:
    long = prompts[0] + "and " * 830
    pair = [c.complete(long, max_tokens=400, temperature=0) for c in (plain[0], trees)]
    assert pair[0] == pair[1]
    assert pair[1].finish == "length"


def test_stop_strings_and_end_of_text(plain: Plain, trees: Client, prompts: list[str]) -> None:
    params = {"max_tokens": 64, "temperature": 0, "stop": ["."]}
    pair = [c.complete_all(prompts[:6], 3, **params) for c in (plain[0], trees)]
    assert tokens(pair[0]) == tokens(pair[1])


def test_seeded_sampling_is_the_same_token_for_token(
    plain: Plain, trees: Client, prompts: list[str]
) -> None:
    """The walk draws at the rows it visits only, so a seed gives the plain engine's text."""
    params = {"max_tokens": 48, "temperature": 0.8, "top_p": 0.9, "top_k": 40, "seed": 3}
    pair = [c.complete_all(prompts[:8], 4, logprobs=3, **params) for c in (plain[0], trees)]
    assert tokens(pair[0]) == tokens(pair[1])
    for left, right in zip(*pair, strict=True):
        assert left.logprobs == pytest.approx(right.logprobs, abs=2e-3)


@pytest.mark.parametrize(
    "params",
    [
        {"presence_penalty": 1.0, "repetition_penalty": 1.2},
        {"frequency_penalty": 0.7},
        {"min_tokens": 40},
        {"bad_words": ["the", "and"]},
        {"allowed_token_ids": list(range(200, 4000))},
        {"structured_outputs": {"regex": "[a-z ]{20,40}"}},
        {"logprobs": 5},
    ],
    ids=lambda params: next(iter(params)),
)
def test_per_request_features_in_a_mixed_batch(
    plain: Plain, trees: Client, prompts: list[str], params: dict[str, Any]
) -> None:
    """Beside drafted requests, in the same batch, as in the stock engine."""

    def both(client: Client) -> list[Completion]:
        jobs = [(p, params if i % 2 else {}) for i, p in enumerate(prompts[:4])]
        with ThreadPoolExecutor(4) as pool:
            return list(
                pool.map(
                    lambda job: client.complete(job[0], max_tokens=48, temperature=0, **job[1]),
                    jobs,
                )
            )

    left, right = both(plain[0]), both(trees)
    assert tokens(left) == tokens(right)
    for a, b in zip(left, right, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-3)
