"""Trees that follow the load change no token, whatever size they have from step to step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import TOKENS, WHOLE
from .serving import Client, Completion, Plain, accepted, serve, tokens

pytestmark = pytest.mark.engine
SIZES = {1: 11, 2: 5, 3: 0, 4: 2, 5: 0, 6: 1, 7: 3, 8: 0}
"""Nodes by requests in the batch: more, fewer and none, one after the other."""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load") / "trace.jsonl"


@pytest.fixture(scope="module")
def by_hand(
    target_dir: Path, speculative: dict[str, object], logs: Path, trace: Path
) -> Iterator[Client]:
    schedule = [[size, size, nodes] for size, nodes in SIZES.items()]
    config = {**speculative, "num_speculative_tokens_per_batch_size": schedule}
    del config[next(iter(WHOLE))]
    with serve(target_dir, logs / "by_hand.log", config, LONGSPEC_TRACE=str(trace)) as client:
        yield client


def staggered(
    client: Client, prompts: Sequence[str], at_once: int, **params: Any
) -> list[Completion]:
    """Answers of many lengths, so that the batch grows and shrinks all along."""
    lengths = [TOKENS - 5 * (i % 8) for i in range(len(prompts))]
    with ThreadPoolExecutor(at_once) as pool:
        ask = lambda pair: client.complete(pair[0], max_tokens=pair[1], **params)  # noqa: E731
        return list(pool.map(ask, zip(prompts, lengths, strict=True)))


def test_sizes_told_by_hand(plain: Plain, by_hand: Client, prompts: list[str], trace: Path) -> None:
    expected = {prompt: answer.tokens for prompt, answer in zip(prompts, plain[1], strict=True)}
    for at_once in (8, 4):
        found = staggered(by_hand, prompts * 2, at_once, temperature=0)
        for prompt, answer in zip(prompts * 2, found, strict=True):
            assert answer.tokens == expected[prompt][: len(answer.tokens)]
            assert len(answer.tokens) > 5 or answer.finish == "stop"
    steps = [json.loads(line) for line in trace.read_text().splitlines()]
    cycles = [step for step in steps if step["event"] == "cycle"]
    for cycle in cycles:
        assert cycle["nodes"] <= cycle["chosen"] * cycle["trees"]
    assert len({cycle["chosen"] for cycle in cycles}) >= 3
    assert accepted(by_hand) > 0


def test_seeds_draw_the_same(plain: Plain, by_hand: Client, prompts: list[str]) -> None:
    seeded = {"temperature": 0.8, "seed": 5}
    found, expected = (staggered(c, prompts, 8, **seeded) for c in (by_hand, plain[0]))
    assert tokens(found) == tokens(expected)


def test_after_a_pause_drafts_are_accepted_as_before(
    plain: Plain, by_hand: Client, trees: Client, prompts: list[str]
) -> None:
    """Three requests pause one another; when the short ones have ended the long one, which has
    missed their steps, is drafted again, as well as where nothing ever pauses."""
    long, pausing = prompts[0], prompts[1:3]

    def length(client: Client) -> float:
        before = [_counts(client)]
        with ThreadPoolExecutor(3) as pool:
            answer = pool.submit(client.complete, long, max_tokens=TOKENS, temperature=0)
            for other in pausing:
                pool.submit(client.complete, other, max_tokens=20, temperature=0)
        assert answer.result().tokens == plain[1][0].tokens
        accepted, drafts = (b - a for a, b in zip(before[0], _counts(client), strict=True))
        return 1 + accepted / drafts

    paused, whole = length(by_hand), length(trees)
    print(f"acceptance length {paused:.2f} with pauses, {whole:.2f} without")
    assert paused > 0.75 * whole


def _counts(client: Client) -> tuple[float, float]:
    return accepted(client), client.counter("vllm:spec_decode_num_drafts_total")


def test_sizes_as_measured(
    target_dir: Path,
    speculative: dict[str, object],
    plain: Plain,
    prompts: list[str],
    logs: Path,
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace.jsonl"
    config = {**speculative, "follow_load": True}
    env = {"LONGSPEC_TRACE": str(trace)}
    with serve(target_dir, logs / "follows.log", config, **env) as client:
        for at_once in (8, 2):
            found = client.complete_all(prompts, at_once, max_tokens=TOKENS, temperature=0)
            assert tokens(found) == tokens(plain[1])
        assert accepted(client) > 0
    steps = [json.loads(line) for line in trace.read_text().splitlines()]
    assert len({(step["effort"], step["least"]) for step in steps}) > 1
