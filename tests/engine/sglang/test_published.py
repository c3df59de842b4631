"""A draft as on the hub, in SGLang: tokens of the target alone, accepted as in our layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proposers import load_glide_model

from .. import published
from ..published import FIRST, LENGTH, NEW, TREE, VOCAB
from .serving import serve

pytestmark = pytest.mark.engine
FLAGS = ("--skip-tokenizer-init", "--context-length", str(4 * FIRST), "--max-total-tokens", "2000")


def answers(folder: Path, layout: str) -> tuple[list[list[int]], int, int]:
    """Tokens of the prompts one after the other, accepted drafts, and steps."""
    tokens, accepted, steps = [], 0, 0
    log, config = folder / f"{layout}.log", {"tree_shape": TREE}
    with serve(folder / "target", log, folder / layout, *FLAGS, config=config) as client:
        for ids in published.prompts():
            params = {"max_new_tokens": NEW, "temperature": 0, "ignore_eos": True}
            body = {"input_ids": ids, "sampling_params": params}
            reply = client.http.post("/generate", json=body)
            assert reply.status_code == 200, reply.text
            found = reply.json()
            tokens.append(found["output_ids"])
            accepted += found["meta_info"]["spec_num_correct_drafts"]
            steps += found["meta_info"]["spec_verify_ct"]
    return tokens, accepted, steps


def test_a_published_layout_is_accepted_as_ours_is(tmp_path: Path) -> None:
    """As ours is offline, at three times the positions of the first training."""
    published.make(tmp_path)
    model = load_glide_model(tmp_path / "target", tmp_path / "ours", "cpu", torch.float32)
    ids = torch.tensor(published.prompts())
    offline = model.tree_spec_generate(ids, LENGTH, TREE, NEW, eos_id=VOCAB)
    assert offline[1] > 0
    assert answers(tmp_path, "shards") == (offline[0].tolist(), *offline[1:3])
