"""Long prompts on a target scaled by 4, and drafts in published layouts: vLLM, and offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers import load_glide_model

from . import published
from .published import CHAIN, FIRST, LENGTH, NEW, TREE, VOCAB

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("published")
    published.make(made)
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> dict[str, Any]:
    """What vLLM made of it, by arm."""
    line = [sys.executable, "-m", "tests.engine.published", str(folder), str(folder / "out.json")]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    done = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return dict(json.loads((folder / "out.json").read_text()))


@pytest.fixture(scope="module")
def offline(folder: Path) -> dict[str, Any]:
    """The offline engine's ids, accepted drafts and steps."""
    ids = torch.tensor(published.prompts())
    made: dict[str, Any] = {}
    for name in ("ours", "bin", "shards"):
        model = load_glide_model(folder / "target", folder / name, "cpu", torch.float32)
        found = model.tree_spec_generate(ids, LENGTH, TREE, NEW, eos_id=VOCAB)
        made[name] = (found[0].tolist(), found[1], found[2])
    chain = model.decode(model.tree_proposer(CHAIN), ids, LENGTH, NEW, eos_id=VOCAB)
    made["chain"] = chain.output_ids.tolist()
    made["vanilla"] = model.vanilla_generate(ids, LENGTH, NEW, eos_id=VOCAB)[0].tolist()
    return made


def test_the_limit_is_the_scaled_one(served: dict[str, Any]) -> None:
    assert {arm["limit"] for arm in served.values()} == {4 * FIRST}


def test_tree_is_chain_is_vanilla_at_three_times_the_limit(
    served: dict[str, Any], offline: dict[str, Any]
) -> None:
    """In float32, in vLLM and offline, and both say the same."""
    vanilla = served["vanilla"]["tokens"]
    assert all(arm["tokens"] == vanilla for arm in served.values())
    assert offline["vanilla"] == offline["chain"] == vanilla
    assert all(offline[name][0] == vanilla for name in ("ours", "bin", "shards"))


def test_a_published_layout_is_accepted_as_ours_is(
    served: dict[str, Any], offline: dict[str, Any]
) -> None:
    counts = [
        (served[n]["num_accepted_tokens"], served[n]["num_drafts"]) for n in published.LAYOUTS
    ]
    assert len(set(counts)) == 1
    assert counts[0][0] > 0
    assert len({offline[name][1:] for name in published.LAYOUTS}) == 1
    assert offline["ours"][1] == counts[0][0]
