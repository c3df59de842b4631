"""Too few blocks and prompts in pieces change nothing; without a part of the method outputs do.

The negative controls: no KV move, no tree mask, no tree positions, logits of other rows than those
that are visited, rules of the text (penalties, grammars) that do not follow the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .breaking import PARTS, REPEATS, RULES
from .conftest import TOKENS, WHOLE
from .serving import Client, Plain, accepted, serve, tokens

pytestmark = pytest.mark.engine
COUNT = 6


@pytest.fixture(scope="module")
def tight(target_dir: Path, draft_dir: Path, logs: Path, switch: Path) -> Iterator[Client]:
    """At most 160 tokens a step; blocks for one long request, or for the start of six short ones.

    Eight trees of 16 nodes leave 24 of the 160, so requests are admitted until blocks run out.
    """
    longest = 432 + TOKENS
    small = ("--max-num-batched-tokens", "160", "--max-num-seqs", "8")
    few = ("--max-model-len", str(longest), "--num-gpu-blocks-override", str(longest // 32 + 1))
    wide = {"tree_shape": [8, 8, 8, 8], "nodes": 16, "min_probability": 0, **WHOLE}
    proposer = "tests.engine.breaking_vllm:BreakableLookup"
    config = {"method": "longspec", "model": str(draft_dir), "proposer": proposer, **wide}
    env = {"LONGSPEC_BREAK": str(switch), "VLLM_SERVER_DEV_MODE": "1"}  # resets the prefix cache
    with serve(target_dir, logs / "tight.log", config, *small, *few, **env) as client:
        yield client


def test_chunked_prefill_and_preemption(plain: Plain, tight: Client, prompts: list[str]) -> None:
    """Long prompts are cut in pieces; short ones grow until blocks lack, are put out and return."""
    expected = {prompt: answer.tokens for prompt, answer in zip(prompts, plain[1], strict=True)}
    short = [prompt for prompt in prompts if len(prompt) < 400]
    before = accepted(tight), tight.counter("vllm:num_preemptions_total")
    for group in (short, [prompt for prompt in prompts if prompt not in short]):
        found = tight.complete_all(group, 8, max_tokens=TOKENS, temperature=0)
        assert tokens(found) == [expected[prompt] for prompt in group]
    assert tight.counter("vllm:num_preemptions_total") > before[1]
    generated = sum(len(answer) for answer in expected.values())
    assert accepted(tight) - before[0] > generated / 4
    seeded = {"max_tokens": 16, "temperature": 0.9, "seed": 11}
    again = [tight.complete_all(prompts[:6], 6, **seeded) for _ in range(2)]
    assert tokens(again[0]) == tokens(again[1])


def test_answers_are_remembered_for_those_who_name_the_same_salt(
    plain: Plain, tight: Client, prompts: list[str]
) -> None:
    """Accepted draft tokens of one prompt, asked again and again: more after an answer under the
    same salt, and as many as at first under another one and under none."""
    found: dict[str, list[float]] = {}
    for salt in ("ours", "ours", "theirs", "", ""):
        named = {"cache_salt": salt} if salt else {}
        before = accepted(tight)
        answer = tight.complete(prompts[0], max_tokens=TOKENS, temperature=0, **named)
        assert answer.tokens == plain[1][0].tokens
        found.setdefault(salt, []).append(accepted(tight) - before)
    print(f"accepted by salt: {found}")
    first, again = found["ours"]
    assert again > first
    assert (found["theirs"], found[""]) == ([first], [first, first])


@pytest.mark.parametrize("part", [*PARTS, "head"])
def test_breaking_a_part_changes_the_output(
    plain: Plain, tight: Client, switch: Path, prompts: list[str], part: str
) -> None:
    switch.write_text(part)
    try:
        found = tight.complete_all(prompts[:COUNT], COUNT, max_tokens=TOKENS, temperature=0)
    finally:
        switch.write_text("")
        tight.forget_prefixes()  # what was broken must not be found again
    changed = sum(a.tokens != b.tokens for a, b in zip(found, plain[1], strict=False))
    print(f"without {part}: {changed} of {COUNT} outputs differ")
    assert changed >= COUNT // 2


@pytest.mark.parametrize("rule", RULES)
def test_rules_that_do_not_follow_the_path_change_the_output(
    plain: Plain, tight: Client, switch: Path, rule: str
) -> None:
    asked = {"max_tokens": TOKENS, "temperature": 0, **RULES[rule]}

    def answers(client: Client) -> list[str]:
        with ThreadPoolExecutor(len(REPEATS)) as pool:
            return list(pool.map(lambda prompt: client.text(prompt, **asked), REPEATS))

    expected = answers(plain[0])
    assert answers(tight) == expected
    switch.write_text(rule)
    try:
        found = answers(tight)
    finally:
        switch.write_text("")
    changed = sum(a != b for a, b in zip(found, expected, strict=True))
    print(f"without {rule} along the path: {changed} of {len(REPEATS)} outputs differ")
    assert changed >= len(REPEATS) // 2
