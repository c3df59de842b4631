"""Pages, chunks and retraction change nothing; without a part of the method outputs do.

The negative controls: no KV move, no tree mask, no tree positions, rules of the text (penalties,
grammars) that do not follow the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..breaking import PARTS, REPEATS, RULES
from .conftest import COUNT, TOKENS, TREES
from .serving import Answer, Client, serve, tokens

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def tight(target_dir: Path, draft_dir: Path, sglang_logs: Path, switch: Path) -> Iterator[Client]:
    """Pages of 16, prompts in chunks of 64, requests retracted every few steps."""
    flags = ("--page-size", "16", "--chunked-prefill-size", "64", "--max-total-tokens", "6000")
    env = {
        "LONGSPEC_BREAK": str(switch),
        "SGLANG_TEST_RETRACT": "1",
        "SGLANG_TEST_RETRACT_INTERVAL": "12",
    }
    with serve(
        target_dir, sglang_logs / "tight.log", draft_dir, *flags, config=TREES, **env
    ) as client:
        yield client


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


@pytest.mark.parametrize("rule", RULES)
def test_rules_that_do_not_follow_the_path_change_the_output(
    plain: Client, trees: Client, switch: Path, rule: str
) -> None:
    """On a server that retracts nothing: SGLang itself forgets penalties with a retraction."""
    asked = {"max_tokens": TOKENS, **RULES[rule]}
    expected = [plain.complete(prompt, **asked) for prompt in REPEATS]
    assert [trees.complete(prompt, **asked) for prompt in REPEATS] == expected
    switch.write_text(rule)
    try:
        found = [trees.complete(prompt, **asked) for prompt in REPEATS]
    finally:
        switch.write_text("")
    changed = sum(a != b for a, b in zip(found, expected, strict=True))
    print(f"without {rule} along the path: {changed} of {len(REPEATS)} outputs differ")
    assert changed >= len(REPEATS) // 2
