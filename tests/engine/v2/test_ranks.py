"""Tensor parallelism in two processes, in both model runners: the trees and answers of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from .bed import Answered, Engine
from .conftest import CAN_SHARE, MIXED, ON_GPU, RANKS, mixed, run
from .model import Tiny

pytestmark = [
    pytest.mark.engine,
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
def test_model_runner_v1(tiny: Tiny, tmp_path: Path) -> None:
    """With lookups in the trees as well."""
    trees = {"method": "longspec", "model": str(tiny.draft), "proposer": "glide_lookup"}
    arguments = {"plain": {}, "one": (one := {"speculative_config": trees}), "two": one | RANKS}
    cases = [mixed(tiny.prompts)]
    engines = [Engine(name, str(tiny.target), cases, more) for name, more in arguments.items()]
    found = run(tmp_path, engines, v2=False)
    check(*(found[f"{name}/{MIXED}"] for name in arguments))
