"""The SGLang adapter's bookkeeping between requests, trees and padded rows."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longspec_plugin.sglang.drafter import TokenBook, _spread
from longspec_plugin.sglang.gates import draftable
from proposers.tree import from_parents

NEEDS_SGLANG = "needs the engine: make setup-sglang"


def request(rid: str, prompt: list[int], output: list[int], **params: Any) -> SimpleNamespace:
    plain = {"frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1}
    sampling = SimpleNamespace(**{**plain, "min_new_tokens": 0, **params})
    tokens = {"origin_input_ids": array("q", prompt), "output_ids": array("q", output)}
    return SimpleNamespace(rid=rid, sampling_params=sampling, grammar=None, **tokens)


def test_the_book_is_ahead_of_sglangs_own_record() -> None:
    book, one = TokenBook(), request("a", [1, 2, 3], [])
    book.start(one, 9)  # prefilled: three tokens verified, 9 drawn
    assert book.of(one, 3).tolist() == [1, 2, 3, 9]
    book.extend(one, [7, 8])
    assert book.of(one, 5).tolist() == [1, 2, 3, 9, 7, 8]


def test_a_stale_book_is_rebuilt_from_the_request_or_refused() -> None:
    book, one = TokenBook(), request("a", [1, 2, 3], [4, 5])
    book.start(request("a", [1, 2], []), 9)  # another life of the request
    assert book.of(one, 4).tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(RuntimeError, match="request a has 5 tokens, KV of 7"):
        book.of(one, 7)
    assert book.keep_only({"b"}) == ["a"]


def test_trees_in_their_places() -> None:
    trees = from_parents([[5, 6], [7]], [[-1, 0], [-1]])
    whole = _spread(trees, [0, 2], 3)
    assert whole.token_lists() == [[5, 6], [], [7]]
    assert _spread(trees, [0, 1], 2) is trees


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, True),
        ({"temperature": 0.8, "top_k": 4, "logit_bias": {"3": 1.0}}, True),
        ({"presence_penalty": 0.5}, False),
        ({"repetition_penalty": 1.1}, False),
        ({"min_new_tokens": 5}, False),
    ],
)
def test_which_requests_get_a_tree(params: dict[str, Any], expected: bool) -> None:
    one = request("a", [1], [], **params)
    assert draftable(one) is expected
    one.grammar = object()
    assert not draftable(one)


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


def test_slots_of_a_request_are_written_in_order() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    from longspec_plugin.sglang.cpu_gaps import assign_slots

    table = torch.zeros(4, 6, dtype=torch.int32)
    rows, start, end = torch.tensor([2, 0]), torch.tensor([1, 3]), torch.tensor([3, 6])
    assign_slots(pytest.fail, rows, table, start, end, torch.arange(50, 55), 2)
    assert table.tolist() == [[0, 0, 0, 52, 53, 54], [0] * 6, [0, 50, 51, 0, 0, 0], [0] * 6]
