"""Checks of the lookups' kernels on any device, against plain torch.

Not collected by its name: ``test_lookup_triton`` runs it in Triton's interpreter, ``tests/gpu`` on
a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from proposers import lookup
from proposers.base import DraftContext
from proposers.lookup import continuations
from proposers.lookup_triton import BLOCK, look_up
from proposers.memory import NOTHING, Others

from .contexts import of_texts


def texts_of(lengths: list[int], seed: int, device: str, kinds: int = 3) -> DraftContext:
    """Texts of few kinds of tokens in a table that is wider than they are, rows out of order."""
    random = torch.Generator().manual_seed(seed)
    texts = [torch.randint(kinds, (n,), generator=random).tolist() for n in lengths]
    asked = of_texts(texts, junk=5)
    order = torch.randperm(len(texts), generator=random)
    moved = replace(asked, token_ids=asked.token_ids[order.argsort()].int(), rows=order)
    names = ("slots", "token_ids", "rows", "lengths", "num_new", "budgets")
    return replace(moved, **{name: getattr(moved, name).to(device) for name in names})


def answers(sizes: list[int], requests: int, seed: int, device: str) -> Others:
    random = torch.Generator().manual_seed(seed)
    table = torch.randint(3, (len(sizes), max(sizes) + 2), generator=random)
    for row, size in zip(table, sizes, strict=True):
        row[size:] = NOTHING
    seen = torch.rand(requests, len(sizes), generator=random) < 0.7
    return Others(table[:, :-1].to(device), seen.to(device))


@pytest.mark.parametrize("ngrams", [range(16, 0, -1), range(4, 1, -1), range(1, 0, -1)], ids=str)
@pytest.mark.parametrize("others", [None, [5, 0, 9], [40]], ids=str)
@pytest.mark.parametrize("lengths", [[1, 2, 30], [7], [BLOCK + 3, 60, BLOCK]], ids=str)
def test_lookups_as_in_plain_torch(
    device: str,
    lengths: list[int],
    others: list[int] | None,
    ngrams: range,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookup.kernels, "runs_on", lambda device: False)
    for seed in range(4):
        asked = texts_of(lengths, seed, device)
        table = None if others is None else answers(others, len(lengths), seed, device)
        expected = continuations(replace(asked, static=True), ngrams, 1, 13, table)
        tokens, sizes, agreed = look_up(asked, ngrams, 13, table)
        assert torch.equal(sizes, expected.sizes)
        assert torch.equal(agreed, expected.agreed)
        known = torch.arange(13, device=device) < sizes[:, :, None]
        assert torch.equal(tokens[known], expected.tokens[known])
    assert bool((sizes > 0).any()) or lengths == [7]


def test_lookups_of_no_request(device: str) -> None:
    tokens, sizes, agreed = look_up(texts_of([3], 0, device).part([]), range(4, 1, -1), 5, None)
    assert (tokens.shape, sizes.shape, agreed.shape) == ((0, 1, 5), (0, 1), (0,))
