"""The default target and its draft in Model Runner V2, as served: with ``LONGSPEC_V2_LONG=1``.

Thirty interpreted layers take a second a step, so continuous integration has the tiny model and the
parity test only.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ..prompts import chat_prompts
from .bed import Case, Engine
from .conftest import COUNT, GREEDY, run

pytestmark = pytest.mark.engine
PROPOSERS = os.environ.get("LONGSPEC_V2_PROPOSERS", "glide_lookup,glide").split(",")


@pytest.mark.parametrize("proposer", PROPOSERS)
def test_greedy_answers(proposer: str, target_dir: Path, draft_dir: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(target_dir)
    prompts = sorted((tokenizer(text)["input_ids"] for text in chat_prompts(24)), key=len)[:COUNT]
    cases = [Case("greedy", prompts, [GREEDY] * COUNT)]
    room = {"max_model_len": 1024, "max_num_batched_tokens": 1024}
    config = {"method": "longspec", "model": str(draft_dir), "proposer": proposer}
    engines = [
        Engine("plain", str(target_dir), cases, room),
        Engine("trees", str(target_dir), cases, {**room, "speculative_config": config}),
    ]
    found = run(tmp_path, engines)
    trees = found["trees/greedy"]
    assert trees.tokens == found["plain/greedy"].tokens
    steps, accepted = (
        trees.counters[f"spec_decode_num_{name}"] for name in ("drafts", "accepted_tokens")
    )
    print(f"{proposer}: {COUNT} of {COUNT} equal, effective AL {1 + accepted / steps:.2f}")
    assert accepted > steps / 2
