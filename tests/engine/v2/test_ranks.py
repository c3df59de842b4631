"""Tensor parallelism in two processes, in both model runners: the trees and answers of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .bed import Answered, Engine
from .conftest import CAN_SHARE, MIXED, ON_GPU, RANKS, SLOW, mixed, run
from .model import Tiny

pytestmark = [
    pytest.mark.engine,
    SLOW,
    pytest.mark.skipif(not CAN_SHARE, reason="needs two GPUs"),
]
COUNTERS = ("spec_decode_num_drafts", "spec_decode_num_accepted_tokens")


def check(plain: Answered, one: Answered, two: Answered) -> None:
    assert two.tokens == plain.tokens
    assert [two.counters[name] for name in COUNTERS] == [one.counters[name] for name in COUNTERS]
    assert two.counters["spec_decode_num_accepted_tokens"] > 0


def test_model_runner_v2(answered: dict[str, Answered]) -> None:
    check(*(answered[f"{engine}/{MIXED}"] for engine in ("plain", "glide", "ranks")))


@pytest.mark.skipif(ON_GPU, reason="a GPU is never served with Model Runner V1")
def test_model_runner_v1(tiny: Tiny, answered: dict[str, Answered], tmp_path: Path) -> None:
    """With lookups in the trees; and trees from Python that are not the same on all ranks."""
    known = tmp_path / "answers.json"
    known.write_text(json.dumps([*zip(tiny.prompts, answered["plain/greedy"].tokens, strict=True)]))
    python = {"proposer": "tests.engine.v2.differing:DifferingTrees", "answers": str(known)}
    one = with_trees({"model": str(tiny.draft), "proposer": "glide_lookup"})
    differing = with_trees(python) | RANKS
    arguments = {"plain": {}, "one": one, "two": one | RANKS, "differing": differing}
    cases = [mixed(tiny.prompts)]
    engines = [Engine(name, str(tiny.target), cases, more) for name, more in arguments.items()]
    found = run(tmp_path, engines, v2=False)
    check(*(found[f"{name}/{MIXED}"] for name in ("plain", "one", "two")))
    last = found[f"differing/{MIXED}"]
    assert last.tokens == found[f"plain/{MIXED}"].tokens
    assert last.counters[COUNTERS[1]] > 20


def with_trees(config: dict[str, Any]) -> dict[str, Any]:
    """Trees of one size: what steps cost is not the same in one process as in two."""
    return {"speculative_config": {"method": "longspec", "follow_load": False, **config}}
