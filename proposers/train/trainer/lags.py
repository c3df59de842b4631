"""How far behind the target is when the draft reads it: lags drawn as trees will meet them.

With lag j the target's keys up to ``t - j`` and its state there are known at position t, as for a
node at depth j - 1 of a tree.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALONG_PATHS = ("reach", "tree")
"""Weightings that follow a draft's path: their lags rise along it."""


def generator(seed: int, step: int, micro: int) -> torch.Generator:
    """Draws of one micro-batch: the same after a resume, and whichever process makes it."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + micro
    return torch.Generator().manual_seed(mixed % 2**63)


def independent(sizes: list[int], weights: list[float], draws: torch.Generator) -> Tensor:
    """``[N]`` a lag of its own for every position."""
    shares = torch.tensor(weights, dtype=torch.float64)
    return torch.multinomial(shares, sum(sizes), replacement=True, generator=draws) + 1


def cycles(sizes: list[int], weights: list[float], draws: torch.Generator) -> Tensor:
    """``[N]`` lags 1, 2, .., m after each other, as along the path of a tree, then 1 again.

    m is drawn so that lag j is as frequent as ``weights`` says: ``P(m >= j) = w_j / w_1``, which
    asks for weights that do not rise.
    """
    shares = torch.tensor(weights, dtype=torch.float64)
    falls = shares - torch.cat([shares[1:], shares.new_zeros(1)])
    laid = []
    for size in sizes:
        lengths = torch.multinomial(falls, size, replacement=True, generator=draws) + 1
        ends = lengths.cumsum(0)
        starts = torch.repeat_interleave(ends - lengths, lengths)[:size]
        laid.append(torch.arange(size) - starts + 1)
    return torch.cat(laid)
