"""Checks of drafting by kernels on any device, against the layer in plain torch.

Not collected by its name: ``test_fused`` runs it in Triton's interpreter, ``tests/gpu`` on a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from proposers.base import DraftContext
from proposers.glide import rotary_triton
from proposers.glide.model import GlideDraft
from proposers.glide.proposer import GlideProposer
from proposers.tree import DraftTrees

from .fused_cases import OPTIONS, VARIANTS, bound, drafted, folder_of, proposed, same, steps

CASES = [(name, OPTIONS[i % 2], i // 2 % 2 == 0) for i, name in enumerate(VARIANTS)]


def levels(
    patch: pytest.MonkeyPatch, given: tuple[Any, ...], kernel: bool, static: bool
) -> tuple[list[Tensor], list[DraftTrees]]:
    """Log-probabilities of all tokens at every level of every step, and the trees."""
    found: list[Tensor] = []
    ranked = GlideDraft.ranked

    def kept(model: GlideDraft, logits: Tensor, log_sums: Tensor, k: int) -> Any:
        found.append(logits - log_sums)
        return ranked(model, logits, log_sums, k)

    patch.setattr(GlideDraft, "ranked", kept)
    proposer = bound(*given, kernel)
    trees = drafted(proposer, list(steps(proposer, given[2], static)))
    patch.setattr(GlideDraft, "ranked", ranked)
    return found, trees


@pytest.mark.parametrize(("name", "options", "static"), CASES, ids=str)
def test_levels_and_trees_are_those_of_the_layer(
    device: str,
    name: str,
    options: dict[str, Any],
    static: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = (folder_of(tmp_path, name), options, device)
    mine, trees = levels(monkeypatch, given, True, static)
    theirs, expected = levels(monkeypatch, given, False, static)
    assert len(mine) == len(theirs) > 4
    for a, b in zip(mine, theirs, strict=True):  # the layer leaves out rows that nobody needs
        torch.testing.assert_close(a[:, : b.shape[1]], b, atol=1e-5, rtol=1e-5)
    for one, other in zip(trees, expected, strict=True):
        assert same(one, other)


@pytest.mark.parametrize("name", ["one block", "two blocks"])
def test_rings_are_filled_alike(device: str, name: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, name)
    rings = []
    for kernel in (True, False):
        proposer = bound(folder, OPTIONS[0], device, kernel)
        step = list(steps(proposer, device, True))[-1]
        proposer.window.fill(step)
        rings.append(proposer.window.ring[..., : proposer.window.capacity, :])
    assert rings[0][:, step.slots].abs().amax() > 1
    torch.testing.assert_close(*rings, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_scores_are_no_worse_than_the_layers(
    device: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Against the layer in float32, on the average over all tokens at the roots."""
    folder, errors = folder_of(tmp_path, "one block"), []
    options = {"tree_shape": [40]}
    exact = bound(folder, options, device, False)
    truth = drafted(exact, list(steps(exact, device, True)))
    for kernel in (True, False):
        proposer = bound(folder, options, device, kernel, dtype)
        assert proposer.window.ring.dtype == dtype
        found = drafted(proposer, list(steps(proposer, device, True, dtype)))
        errors.append(torch.stack([apart(*pair) for pair in zip(found, truth, strict=True)]).mean())
    assert errors[0] < 1.2 * errors[1] < 0.5


def apart(found: DraftTrees, truth: DraftTrees) -> Tensor:
    """How far scores of the same tokens lie apart."""
    (a, b) = (trees.log_probs.gather(1, trees.tokens.argsort(1)) for trees in (found, truth))
    return (a - b).abs().mean()


def test_padding_of_a_graphs_batch_is_harmless(device: str, tmp_path: Path) -> None:
    """A request of one token in a slot that was never filled; the others' trees stay."""
    proposer = bound(folder_of(tmp_path, "one block"), OPTIONS[0], device)
    step = list(steps(proposer, device, True))[-1]
    whole = drafted(proposer, [step])[0]
    lengths, slots = step.lengths.clone(), step.slots.clone()
    lengths[1], slots[1] = 1, 7
    padded = proposed(proposer, replace(step, lengths=lengths, slots=slots))
    assert torch.equal(padded.tokens[::2], whole.tokens[::2])
    assert padded.log_probs.isfinite().all()


def test_control_anothers_ring_gives_other_trees(device: str, tmp_path: Path) -> None:
    proposer = bound(folder_of(tmp_path, "one block"), OPTIONS[0], device)
    step = list(steps(proposer, device, True))[-1]
    own = drafted(proposer, [step])[0]
    assert same(own, proposed(proposer, step))
    others = replace(step, slots=step.slots.roll(1))
    assert not same(own, unwritten(proposer, others))


def unwritten(proposer: GlideProposer, step: DraftContext) -> DraftTrees:
    """Trees from rings as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposer.window, "update", lambda context: None)
        return proposed(proposer, step)


def test_control_without_rotation_trees_are_others(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer = bound(folder_of(tmp_path, "one block"), OPTIONS[0], device)
    asked = list(steps(proposer, device, True))
    before = drafted(proposer, asked)[-1]
    tables = rotary_triton.tables
    monkeypatch.setattr(rotary_triton, "tables", lambda f, positions: tables(f, positions * 0))
    assert not same(before, drafted(proposer, asked)[-1])
