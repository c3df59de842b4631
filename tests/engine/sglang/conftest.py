"""SGLang servers shared by its tests.

``LONGSPEC_PROMPTS`` and ``LONGSPEC_TOKENS`` make the runs longer (20 and 128 were used for the
figures in the documents); the defaults keep continuous integration short.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..prompts import chat_prompts
from .serving import Answer, Client, serve

COUNT = int(os.environ.get("LONGSPEC_PROMPTS", 6))
TOKENS = int(os.environ.get("LONGSPEC_TOKENS", 40))
PROPOSER = "tests.engine.sglang.breaking:BreakableGlide"
# Drafts not in 8 bits, which the test of parity holds beside kernels that have none.
TREE: dict[str, Any] = {"tree_shape": [4, 4, 2, 1], "min_probability": 0, "int8": False}
TREES = {"proposer": PROPOSER, **TREE}


@pytest.fixture(scope="package")
def prompts() -> list[str]:
    return chat_prompts(COUNT, 1500)


@pytest.fixture(scope="package")
def sglang_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sglang")


@pytest.fixture(scope="package")
def plain(target_dir: Path, prompts: list[str], sglang_logs: Path) -> Iterator[Client]:
    """Stock SGLang without speculation, scheduling synchronously as speculation on a CPU does.

    Its overlapped scheduler applies penalties one token late.
    """
    flags = ("--max-total-tokens", "8000", "--disable-overlap-schedule")
    with serve(target_dir, sglang_logs / "plain.log", None, *flags) as client:
        yield client


@pytest.fixture(scope="package")
def expected(plain: Client, prompts: list[str]) -> list[Answer]:
    """Its greedy answers."""
    return plain.generate_all(prompts, 6, TOKENS)


@pytest.fixture(scope="package")
def trees(target_dir: Path, draft_dir: Path, sglang_logs: Path, switch: Path) -> Iterator[Client]:
    """Stock SGLang with the plugin."""
    log, pool = sglang_logs / "trees.log", ("--max-total-tokens", "8000")
    env = {"LONGSPEC_BREAK": str(switch)}
    with serve(target_dir, log, draft_dir, *pool, config=TREES, **env) as client:
        yield client
