"""The offline engine on the real target, float32: tree = chain = vanilla = transformers' generate.

``python -m recipes.offline.exactness`` does the same over 208 prompts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from proposers import GlideModel, load_glide_model

from .prompts import chat_prompts

pytestmark = pytest.mark.engine
TOKENS, EOS, SHAPE = 32, 2, [4, 4, 2, 1]


@pytest.fixture(scope="module")
def model(target_dir: Path, draft_dir: Path) -> GlideModel:
    return load_glide_model(target_dir, draft_dir, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def batch(target_dir: Path) -> tuple[torch.Tensor, list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(target_dir, padding_side="right")
    encoded: Any = tokenizer(chat_prompts(5, 600), padding=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"].sum(1).tolist()


def test_tree_chain_and_vanilla(model: GlideModel, batch: tuple[torch.Tensor, list[int]]) -> None:
    ids, lengths = batch
    vanilla, _, _ = model.vanilla_generate(ids, lengths, TOKENS, EOS)
    chain = model.spec_generate(ids, lengths, 4, TOKENS, EOS)
    tree = model.tree_spec_generate(ids, lengths, SHAPE, TOKENS, EOS)
    assert torch.equal(chain[0], vanilla)
    assert torch.equal(tree[0], vanilla)
    assert 1 + tree[1] / tree[2] > 1 + chain[1] / chain[2] > 1.3
    served = model.decode(model.served_proposer(), ids, lengths, TOKENS, EOS)
    assert torch.equal(served.output_ids, vanilla)
    assert served.acceptance_length > 1.5


def test_transformers_own_generate(
    model: GlideModel, batch: tuple[torch.Tensor, list[int]], target_dir: Path
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(target_dir, dtype=torch.float32)
    ids, lengths = batch
    for row in (1, 4):
        prompt = ids[row : row + 1, : lengths[row]]
        ones = torch.ones_like(prompt)
        expected = plain.generate(
            prompt, attention_mask=ones, max_new_tokens=TOKENS, do_sample=False, pad_token_id=EOS
        )[0, lengths[row] :].tolist()
        tree = model.tree_spec_generate(prompt, lengths[row], SHAPE, TOKENS, EOS)[0]
        assert tree[0, : len(expected)].tolist() == expected
