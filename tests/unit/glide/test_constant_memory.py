"""The draft's memory is constant; what it says equals the full-length draft's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from proposers.attention import prefix_attention
from proposers.base import DraftContext
from proposers.glide.proposer import GlideProposer
from proposers.offline.target import LastLayerKV
from tests.unit.proposers.contexts import first_trees, of_texts

from .tiny import DIM, HIDDEN, KV_HEADS, VOCAB, tiny_draft, tiny_target

SHAPE = [2, 4, 2]


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation made."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        known = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        for leaf in tree_leaves(result):
            if torch.is_tensor(leaf) and _memory(leaf) not in known:  # views cost nothing
                self.largest = max(self.largest, leaf.numel())
        return result


def _memory(tensor: torch.Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # prepacked weights
        return id(tensor)


def drafted(
    folder: Path, length: int, window: int | None = None
) -> tuple[GlideProposer, DraftContext]:
    """A fresh proposer and a request of ``length`` tokens."""
    proposer = GlideProposer(folder, {"tree_shape": SHAPE})
    if window is not None:  # a draft that keeps everything and masks what is out of its window
        proposer.config = proposer.config.model_copy(update={"window": window})
    proposer.bind(tiny_target())
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
    kv = torch.randn(2, 1, KV_HEADS, length - 1, DIM, generator=generator)
    state = torch.randn(1, HIDDEN, generator=generator)
    known = LastLayerKV(kv[0], kv[1], None)
    return proposer, replace(of_texts([ids], 128), hidden_states=state, target_kv=known)


@pytest.fixture(scope="module", params=[1, 2], ids=["one layer", "two layers"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    draft = tmp_path_factory.mktemp("draft")
    tiny_draft(draft, window=512, num_layers=request.param)
    return draft


def test_memory_does_not_grow_from_512_to_8192_tokens(folder: Path) -> None:
    held, made = [], []
    for length in (513, 2048, 8192):
        proposer, context = drafted(folder, length)
        first_trees(proposer, context)
        held.append(proposer.window.ring.numel())
        with LargestTensor() as seen:
            first_trees(proposer, context)  # prefill of the window and a tree
        made.append(seen.largest)
        assert proposer.window.ring.numel() == held[-1]
    heads = proposer.config.num_layers * KV_HEADS
    assert held[0] == held[1] == held[2] == 2 * heads * (513 + sum(SHAPE)) * DIM
    assert made[0] == made[1] == made[2]
    assert made[0] < 2 * 513 * HIDDEN


def test_the_meter_sees_growth() -> None:
    """The control: attention with its scores written out grows with the context."""
    sizes = []
    for length in (512, 8192):
        keys = torch.randn(1, 2, length, 8)
        with LargestTensor() as seen:
            (torch.randn(1, 2, 4, 8) @ keys.transpose(2, 3)).softmax(-1) @ keys
        sizes.append(seen.largest)
    assert sizes[1] >= 8 * sizes[0]


@pytest.mark.parametrize("length", [300, 513, 700, 2100])
def test_outputs_equal_the_full_length_drafts(
    folder: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys kept from the first token on, the window being a mask only."""
    proposer, context = drafted(folder, length)
    short = first_trees(proposer, context)
    whole, context = drafted(folder, length, window=length + 8)
    assert whole.window.capacity > length
    whole.window.window = 512  # what is attended to; what is kept stays
    full = first_trees(whole, context)
    assert torch.equal(short.tokens, full.tokens)
    assert torch.equal(short.parents, full.parents)
    torch.testing.assert_close(short.log_probs, full.log_probs)


def test_last_layer_kv_is_plain_attention() -> None:
    query = torch.randn(2, 3, 6, 8)
    keys, values = torch.randn(2, 2, KV_HEADS, 20, 8)
    out = LastLayerKV(keys, values, None).attend(query)
    expected = prefix_attention(query.transpose(1, 2), keys, values, None, 8**-0.5)[0]
    assert torch.equal(out, expected.transpose(1, 2))
    assert np.isfinite(out.numpy()).all()
