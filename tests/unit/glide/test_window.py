"""Rings of slots: rewritten without harm, made anew for another request, never longer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from proposers.glide.proposer import GlideProposer
from tests.unit.proposers.contexts import first_trees, of_texts

from .test_proposer import bound, context
from .tiny import VOCAB, tiny_draft

WINDOW = 16


@pytest.fixture(scope="module")
def proposer(tmp_path_factory: pytest.TempPathFactory) -> GlideProposer:
    folder = tmp_path_factory.mktemp("draft")
    tiny_draft(folder, window=WINDOW, num_layers=2)
    proposer = bound(folder, {"tree_shape": [3, 2]})
    proposer.model.quick = proposer.window.filler = None  # another rounding by another count
    return proposer


def texts(lengths: list[int], seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, VOCAB, (n,), generator=generator).tolist() for n in lengths]


def rings(proposer: GlideProposer, slots: list[int]) -> torch.Tensor:
    """What the rings hold, without the room for trees behind them."""
    return proposer.window.ring[:, slots, :, : proposer.window.capacity].clone()


@pytest.mark.parametrize("most", [2, 5, WINDOW, WINDOW + 1, 200])
def test_writing_more_than_is_new_changes_nothing(proposer: GlideProposer, most: int) -> None:
    """At lengths below, at and beyond the window, and around its end."""
    asked = of_texts(texts([4, 11, 17, 18, 19, 60], seed=1), new=[1, 2, 1, 1, 2, 2])
    proposer.window.fill(asked)
    before = rings(proposer, list(range(6)))
    proposer.window.update(replace(asked, most_new=most))
    torch.testing.assert_close(rings(proposer, list(range(6))), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [3, 9, 40])
def test_updates_of_one_step_reach_every_request(proposer: GlideProposer, most: int) -> None:
    """One request has one new token where another has three: both end where filling would."""
    whole = of_texts(texts([30, 9, 18], seed=2), new=[3, 1, 2])
    proposer.window.fill(whole)
    expected = rings(proposer, [0, 1, 2])
    proposer.window.fill(replace(whole, lengths=whole.lengths - whole.num_new))
    assert not torch.allclose(rings(proposer, [0, 1, 2]), expected)
    proposer.window.update(replace(whole, most_new=most))
    held = proposer.window.positions(whole.lengths) >= 0
    seen = held[None, :, None, :, None].expand_as(expected)
    found = rings(proposer, [0, 1, 2])
    torch.testing.assert_close(found[seen], expected[seen], rtol=1e-5, atol=1e-6)


def test_another_request_in_the_slot_finds_nothing_of_the_last(proposer: GlideProposer) -> None:
    for long, short in (([60, 45], [7, 3]), ([7, 3], [60, 45])):
        first_trees(proposer, context(long, seed=3))
        asked = context(short, seed=4)
        later = first_trees(proposer, asked)
        fresh = bound(proposer.draft_dir, {"tree_shape": [3, 2]})
        fresh.model.quick = fresh.window.filler = None
        alone = first_trees(fresh, asked)
        assert torch.equal(later.tokens, alone.tokens)
        torch.testing.assert_close(later.log_probs, alone.log_probs)


def test_a_start_leaves_the_other_slots_alone(proposer: GlideProposer) -> None:
    asked = of_texts(texts([30, 20, 25], seed=5))
    proposer.start(asked)
    before = rings(proposer, [0, 2])
    proposer.start(of_texts(texts([9, 40, 8], seed=6)).part([1]))
    assert torch.equal(rings(proposer, [0, 2]), before)


def test_memory_is_that_of_the_slots_whatever_the_texts(tmp_path: Path) -> None:
    tiny_draft(tmp_path, window=WINDOW)
    proposer = bound(tmp_path, {"tree_shape": [3, 2]})
    proposer.window.reserve(3)
    room = proposer.window.ring.shape
    assert room[1] == 3
    for length in (5, 40, 400):
        first_trees(proposer, context([length, 2, length], seed=7))
        assert proposer.window.ring.shape == room
    proposer.start(replace(of_texts(texts([5], seed=8)), slots=torch.tensor([9])))
    assert proposer.window.ring.shape[1] >= 10
    assert proposer.window.ring.shape[2:] == room[2:]
