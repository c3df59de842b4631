"""Answers are remembered for those who name the same salt, and for nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import TOKENS
from .serving import Answer, serve

pytestmark = pytest.mark.engine
SALTS = ("ours", "ours", "theirs", "", "")


def test_answers_are_remembered_for_those_who_name_the_same_salt(
    target_dir: Path,
    draft_dir: Path,
    sglang_logs: Path,
    expected: list[Answer],
    prompts: list[str],
) -> None:
    """Steps for one prompt, asked again and again: fewer after an answer under the same salt, and
    as many as at first under another one and under none."""
    steps: dict[str, list[int]] = {}
    config, log = {"proposer": "prompt_lookup"}, sglang_logs / "salts.log"
    with serve(target_dir, log, draft_dir, "--max-total-tokens", "8000", config=config) as client:
        for salt in SALTS:
            answer = client.generate(prompts[0], TOKENS, cache_salt=salt)
            assert answer.tokens == expected[0].tokens
            steps.setdefault(salt, []).append(answer.meta["spec_verify_ct"])
    print(f"steps by salt: {steps}")
    first, again = steps["ours"]
    assert again < first
    assert (steps["theirs"], steps[""]) == ([first], [first, first])
