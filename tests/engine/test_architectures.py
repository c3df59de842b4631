"""Targets of many architectures, tiny and random: served exactly, or refused before they load.

A proposer that borrows no weights does not care where a target keeps them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]
SIZES = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
LLAMA_LIKE = {**SIZES, **HEADS, "max_position_embeddings": 256, "head_dim": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA_LIKE,
    "qwen2": LLAMA_LIKE,
    "qwen3": LLAMA_LIKE,
    "mistral": {**LLAMA_LIKE, "sliding_window": None},
    "olmo2": LLAMA_LIKE,
    "gemma": {**LLAMA_LIKE, "tie_word_embeddings": True},
    "gemma2": {**LLAMA_LIKE, "tie_word_embeddings": True},
    "gpt2": {"vocab_size": 256, "n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 2},
    "phi": {**SIZES, **HEADS, "max_position_embeddings": 256},
    "falcon": {**SIZES, "num_attention_heads": 2, "multi_query": True, "alibi": False,
               "max_position_embeddings": 256},
    "opt": {"vocab_size": 256, "hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 256, "word_embed_proj_dim": 64},
}  # fmt: skip
FEW = "gpt2,gemma2,falcon,opt"
ASKED = os.environ.get("LONGSPEC_ARCHITECTURES", FEW).replace("all", ",".join(CONFIGS)).split(",")
"""``all``, or some: each takes ten seconds."""
REFUSED = {"gemma2": "sliding-window attention"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By architecture the answers of both engines, or what was said instead."""
    folder = tmp_path_factory.mktemp("architectures")
    job, out = folder / "job.json", folder / "out.json"
    job.write_text(json.dumps({name: CONFIGS[name] for name in ASKED}))
    line = [sys.executable, "-m", "tests.engine.architectures", str(job), str(out)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    done = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return dict(json.loads(out.read_text()))


def test_drafts_are_accepted(found: dict[str, Any]) -> None:
    """Random models repeat themselves, most of them."""
    assert sum(answers.get("accepted", 0) > 0 for answers in found.values()) > len(found) / 2


@pytest.mark.parametrize("name", ASKED)
def test_served_exactly_or_refused_at_once(found: dict[str, Any], name: str) -> None:
    answers = found[name]
    if name in REFUSED:
        assert REFUSED[name] in answers["refused"]
        assert not answers["loaded"]
        return
    assert answers["trees"] == answers["plain"], answers.get("refused")
    assert answers["loaded"]
