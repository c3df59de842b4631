"""The SGLang adapter's padded rows."""

from __future__ import annotations

import pytest
import torch

from proposers.tree import from_parents

NEEDS_SGLANG = "needs the engine: make setup-sglang"


def test_rows_are_padded_to_the_widest_tree() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    from longspec_plugin.sglang.verify_input import TreeVerifyInput

    trees = from_parents([[5, 6, 7], [8]], [[-1, 0, -1], [-1]])
    roots, lengths = torch.tensor([3, 4]), torch.tensor([10, 20])
    step = TreeVerifyInput(trees, roots, lengths, 5, None)
    assert step.draft_token.view(2, 5).tolist() == [[3, 5, 6, 7, 3], [4, 8, 0, 0, 4]]
    assert step.positions.view(2, 5).tolist() == [[10, 11, 12, 11, 10], [20, 21, 20, 20, 20]]
    sees = step.mask.int().tolist()
    assert sees[0][:4] == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0]]
    assert sees[1][2:] == [[1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
    full = TreeVerifyInput(trees, roots, lengths, 5, 33).custom_mask  # the host is 3 behind
    assert len(full) == 5 * (10 + 5) + 5 * (20 + 5) + 5 * 3
    first = full[: 5 * 15].view(5, 15)
    assert bool(first[:, :10].all())
    assert torch.equal(first[:, 10:], step.mask[0])
    second = full[5 * 15 : 5 * 40].view(5, 25)
    assert bool(second[:, :20].all())
    assert torch.equal(second[:, 20:], step.mask[1])


def test_trees_that_were_cut_are_no_wider_than_the_widest_that_is_left() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    from longspec_plugin.sglang.verify_input import TreeVerifyInput

    trees = from_parents([[5, 6, 7], [8, 9]], [[-1, 0, 1], [-1, 0]]).truncated(torch.tensor([1, 0]))
    step = TreeVerifyInput(trees, torch.tensor([3, 4]), torch.tensor([10, 20]), 2, None)
    assert step.draft_token.view(2, 2).tolist() == [[3, 5], [4, 8]]
    assert step.positions.view(2, 2).tolist() == [[10, 11], [20, 20]]
    assert step.mask[0].int().tolist() == [[1, 0], [1, 1]]
    assert len(step.custom_mask) == 2 * 2 * 2


def test_slots_of_a_request_are_written_in_order() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    from longspec_plugin.sglang.cpu_gaps import assign_slots

    table = torch.zeros(4, 6, dtype=torch.int32)
    rows, start, end = torch.tensor([2, 0]), torch.tensor([1, 3]), torch.tensor([3, 6])
    assign_slots(pytest.fail, rows, table, start, end, torch.arange(50, 55), 2)
    assert table.tolist() == [[0, 0, 0, 52, 53, 54], [0] * 6, [0, 50, 51, 0, 0, 0], [0] * 6]
