"""Tree = chain = vanilla = transformers' own greedy generate, token for token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from proposers.offline.models import GlideModel

from .conftest import ModelMaker
from .tiny import VOCAB, ragged_prompts

KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-untied-biased": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "llama-tied-mha-head80": {
        "tie_word_embeddings": True,
        "num_key_value_heads": 4,
        "head_dim": 80,
    },
    "qwen2": {},
    "qwen2-tied-mqa": {"tie_word_embeddings": True, "num_key_value_heads": 1},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": None},
    "olmo2": {},
}


def model_of(make_model: ModelMaker, name: str, dtype: torch.dtype) -> GlideModel:
    return make_model(name.split("-")[0], dtype, **KINDS[name])


def reference(model: GlideModel, ids: Tensor, length: int, new: int, eos: int) -> list[int]:
    """transformers' plain greedy generate, its own attention and cache, one row."""
    path, dtype = model.target.model.name_or_path, model.target.embedding.dtype
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    out = plain.eval().generate(
        ids[None, :length],
        attention_mask=torch.ones(1, length),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return out[0, length:].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", KINDS)
def test_every_architecture(make_model: ModelMaker, name: str, dtype: torch.dtype) -> None:
    model = model_of(make_model, name, dtype)
    ids, lengths = ragged_prompts(3, seed=7)
    vanilla, num, _ = model.vanilla_generate(ids, lengths, 20, eos_id=5)
    for row, length in enumerate(lengths):
        expected = reference(model, ids[row], length, 20, eos=5)
        assert vanilla[row, : len(expected)].tolist() == expected
        assert set(vanilla[row, len(expected) :].tolist()) <= {5}
    chain, tree = both(model, ids, lengths, 20, 5, [4, 8, 4])
    assert torch.equal(chain[0], vanilla)
    assert torch.equal(tree[0], vanilla)
    assert tree[2] <= num  # forwards


def both(
    model: GlideModel, ids: Tensor, lengths: Any, new: int, eos: int, shape: list[int]
) -> tuple[Any, Any]:
    chain = model.spec_generate(ids, lengths, 3, new, eos_id=eos)
    return chain, model.tree_spec_generate(ids, lengths, shape, new, eos_id=eos)


@pytest.mark.parametrize("batch", [1, 26])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_over_two_hundred_prompts(
    make_model: ModelMaker, kind: str, dtype: torch.dtype, batch: int
) -> None:
    model = make_model(kind, dtype)
    accepted = drafts = 0
    for seed in range(12 if batch == 1 else 208 // batch):
        ids, lengths = ragged_prompts(batch, seed=1000 * batch + seed)
        vanilla, _, _ = model.vanilla_generate(ids, lengths, 16, eos_id=9)
        chain, tree = both(model, ids, lengths, 16, 9, [4, 8, 8, 4])
        assert torch.equal(chain[0], vanilla), (seed, lengths)
        assert torch.equal(tree[0], vanilla), (seed, lengths)
        accepted, drafts = accepted + tree[1], drafts + tree[2]
    assert accepted > drafts / 20  # paths were accepted, so that this shows something


shapes = st.one_of(
    st.just([1]),
    st.just([1] * 12),
    st.just([4, 16, 16, 16, 16]),
    st.just([64, 64]),
    st.lists(st.integers(1, 24), min_size=1, max_size=5),
)


@settings(max_examples=40)
@given(
    kind=st.sampled_from(["llama", "qwen2"]),
    shape=shapes,
    window=st.sampled_from([1, 4, 16, 512]),
    batch=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 10_000),
    new=st.sampled_from([1, 2, 7, 25]),
    eos=st.sampled_from([2, 9, [9, 17, 30, 41], VOCAB + 100]),
)
def test_any_shape_window_and_end(
    make_model: ModelMaker,
    kind: str,
    shape: list[int],
    window: int,
    batch: int,
    seed: int,
    new: int,
    eos: Any,
) -> None:
    model = make_model(kind, torch.float64, draft={"window": window})
    ids, lengths = ragged_prompts(batch, seed)
    vanilla, forwards, _ = model.vanilla_generate(ids, lengths, new, eos_id=eos)
    tree, count, num, _, spec_mask = model.tree_spec_generate(ids, lengths, shape, new, eos_id=eos)
    assert torch.equal(tree, vanilla)
    assert int(spec_mask.sum()) == count
    assert num <= forwards
    assert num + count >= forwards  # every token but the first is a bonus or an accepted one
    assert num + count <= forwards + batch  # a path that ends in EOS has no bonus


def test_a_bad_draft_changes_nothing_but_speed(make_model: ModelMaker) -> None:
    good, bad = (make_model(draft={"seed": seed}) for seed in (0, 1))
    ids, lengths = ragged_prompts(4, seed=3)
    answers = [m.tree_spec_generate(ids, lengths, [4, 4], 16, eos_id=9)[0] for m in (good, bad)]
    assert torch.equal(*answers)
