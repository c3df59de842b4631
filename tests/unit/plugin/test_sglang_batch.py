"""The SGLang adapter's padded rows, and which requests get trees."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longspec_plugin.sglang.gates import refused
from proposers.tree import from_parents

from .test_sglang_history import request

NEEDS_SGLANG = "needs the engine: make setup-sglang"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"temperature": 0.8, "top_k": 4, "logit_bias": {"3": 1.0}}, None),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"min_new_tokens": 5}, "min_new_tokens"),
    ],
)
def test_why_a_request_gets_no_tree(params: dict[str, Any], expected: str | None) -> None:
    one = request("a", [1], [], **params)
    assert refused(one) == expected
    one.grammar = object()
    assert refused(one) == (expected or "grammar")


def test_rows_are_padded_to_the_widest_tree() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    from longspec_plugin.sglang.verify_input import TreeVerifyInput

    trees = from_parents([[5, 6, 7], [8]], [[-1, 0, -1], [-1]])
    roots, lengths = torch.tensor([3, 4]), torch.tensor([10, 20])
    step = TreeVerifyInput(trees, roots, lengths, 5, whole_mask=False)
    assert step.draft_token.view(2, 5).tolist() == [[3, 5, 6, 7, 3], [4, 8, 0, 0, 4]]
    assert step.positions.view(2, 5).tolist() == [[10, 11, 12, 11, 10], [20, 21, 20, 20, 20]]
    sees = step.mask.int().tolist()
    assert sees[0][:4] == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0]]
    assert sees[1][2:] == [[1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
    full = TreeVerifyInput(trees, roots, lengths, 5, whole_mask=True).custom_mask
    assert len(full) == 5 * (10 + 5) + 5 * (20 + 5)
    first = full[: 5 * 15].view(5, 15)
    assert bool(first[:, :10].all())
    assert torch.equal(first[:, 10:], step.mask[0])


def test_trees_that_were_cut_are_no_wider_than_the_widest_that_is_left() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    from longspec_plugin.sglang.verify_input import TreeVerifyInput

    trees = from_parents([[5, 6, 7], [8, 9]], [[-1, 0, 1], [-1, 0]]).truncated(torch.tensor([1, 0]))
    step = TreeVerifyInput(trees, torch.tensor([3, 4]), torch.tensor([10, 20]), 2, whole_mask=False)
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
