"""Servers shared by the engine tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .prompts import chat_prompts
from .serving import EMBEDDINGS, Client, Plain, serve

TREE = [4, 4, 2, 1]
WHOLE = {"follow_load": False}  # trees of one size, whatever this machine's steps cost
# What continuous integration has time for; the published figures are of 24 prompts and 128 tokens.
COUNT = int(os.environ.get("LONGSPEC_PROMPTS", 8))
TOKENS = int(os.environ.get("LONGSPEC_TOKENS", 48))
RULED = int(os.environ.get("LONGSPEC_RULED", 2))  # prompts of each rule that a request may bring
RULED_TOKENS = 24 if RULED == 2 else 48
collect_ignore = [] if os.environ.get("LONGSPEC_DATA_PARALLEL") else ["test_data_parallel.py"]


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    return chat_prompts(COUNT)


@pytest.fixture(scope="session")
def speculative(draft_dir: Path) -> dict[str, object]:
    """Full trees of the draft alone; its default proposer is tested under preemption."""
    glide = {"proposer": "glide", "min_probability": 0.0, **WHOLE}
    return {"method": "longspec", "model": str(draft_dir), "tree_shape": TREE, **glide}


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that breaks parts of a server (:mod:`.breaking`)."""
    path = tmp_path_factory.mktemp("switch") / "broken"
    path.write_text("")
    return path


@pytest.fixture(scope="session")
def plain(target_dir: Path, prompts: list[str], logs: Path) -> Iterator[Plain]:
    """Stock vLLM without speculation, and its greedy answers."""
    with serve(target_dir, logs / "plain.log", None, EMBEDDINGS) as client:
        yield client, client.complete_all(prompts, 8, max_tokens=TOKENS, temperature=0)


@pytest.fixture(scope="session")
def trees(target_dir: Path, speculative: dict[str, object], logs: Path) -> Iterator[Client]:
    """Stock vLLM with the plugin."""
    with serve(target_dir, logs / "trees.log", speculative) as client:
        yield client
