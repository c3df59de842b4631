"""Negative controls: break one part of verification and the output must change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import proposers.offline.target as target_module
from proposers.offline.cache import KVCache
from proposers.tree import DraftTrees

from .conftest import ModelMaker
from .tiny import ragged_prompts

SHAPE = [8, 16, 16]
accept = KVCache.accept


def no_kv_move(cache: KVCache, rows: Sequence[Sequence[int]]) -> None:
    """The first rows of the tree instead of the accepted path's."""
    accept(cache, [list(range(len(path))) for path in rows])


def no_tree_mask(trees: DraftTrees) -> Tensor:
    """Causal over the breadth-first order."""
    size = trees.max_nodes + 1
    return torch.ones(trees.batch_size, size, size, dtype=torch.bool).tril()


def no_tree_positions(trees: DraftTrees, root_positions: Tensor) -> Tensor:
    return root_positions[:, None] + torch.arange(trees.max_nodes + 1)


BREAKS = {
    "kv move": (KVCache, "accept", no_kv_move),
    "tree mask": (target_module, "ancestor_mask", no_tree_mask),
    "tree positions": (target_module, "row_positions", no_tree_positions),
}


@pytest.mark.parametrize("what", BREAKS)
def test_without_it_outputs_break(
    make_model: ModelMaker, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    model = make_model()
    ids, lengths = ragged_prompts(8, seed=31)
    vanilla = model.vanilla_generate(ids, lengths, 40, eos_id=99)[0]
    assert torch.equal(model.tree_spec_generate(ids, lengths, SHAPE, 40, eos_id=99)[0], vanilla)
    monkeypatch.setattr(*BREAKS[what])
    broken = model.tree_spec_generate(ids, lengths, SHAPE, 40, eos_id=99)[0]
    assert int((broken != vanilla).any(1).sum()) >= 4
