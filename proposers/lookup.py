"""Finding the last n-gram of a text again in the text itself, for a whole batch, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import DraftContext


@dataclass(frozen=True)
class Continuations:
    """What followed the last n-gram before, ``C`` distinct continuations of up to ``D`` tokens.

    Attributes:
        tokens: ``[B, C, D]`` int64.
        sizes: ``[B, C]`` how many of them are known tokens; 0: nothing was found.
        agreed: ``[B]`` the longest n-gram that was found, at least 1.
    """

    tokens: Tensor
    sizes: Tensor
    agreed: Tensor


def continuations(context: DraftContext, ngrams: range, count: int, depth: int) -> Continuations:
    """The first ``count`` distinct continuations, after the longest match first, then the latest.

    Args:
        ngrams: lengths of suffix that are looked for, falling.
        depth: the most tokens of a continuation.
    """
    lines, lengths = context.lines(), context.lengths
    agreed = _agreement(context, lines, ngrams[0])
    ends = torch.arange(lines.shape[1], device=lines.device)
    agreed = agreed.masked_fill((agreed < ngrams[-1]) | (ends >= lengths[:, None]), 0)
    ranks = torch.where(agreed > 0, agreed * lines.shape[1] + ends, -1)
    longest = agreed.amax(1).clamp(min=1)
    tokens, sizes = [], []
    for branch in range(count):
        best, end = ranks.max(1, keepdim=True)
        at = end + torch.arange(depth, device=lines.device)
        size = (lengths - end[:, 0]).clamp(max=depth)
        sizes.append(torch.where(best[:, 0] >= 0, size, 0))
        tokens.append(lines.gather(1, at.clamp(max=lines.shape[1] - 1)).long())
        if branch + 1 < count:
            told = _tells_the_same(lines, lengths, tokens[-1], sizes[-1])
            ranks = ranks.masked_fill(told | (best < 0), -1)
    return Continuations(torch.stack(tokens, 1), torch.stack(sizes, 1), longest)


def _agreement(context: DraftContext, lines: Tensor, longest: int) -> Tensor:
    """``[B, L]``: how many tokens before each place are the last ones of the text, of ``longest``.

    A text shorter than an n-gram agrees nowhere: its last tokens begin with copies of its first,
    which no place has before it.
    """
    last, _ = context.recent(longest)
    runs = torch.zeros_like(lines, dtype=torch.int64)
    run = torch.ones_like(lines, dtype=torch.bool)
    for back in range(1, longest + 1):
        run[:, :back] = False
        run[:, back:] &= lines[:, : lines.shape[1] - back] == last[:, -back, None].to(lines)
        runs += run
    return runs


def _tells_the_same(lines: Tensor, lengths: Tensor, tokens: Tensor, sizes: Tensor) -> Tensor:
    """``[B, L]``: what follows each place, as far as it goes, is the start of ``tokens [B, D]``."""
    depth, width = tokens.shape[1], lines.shape[1]
    same = torch.ones_like(lines, dtype=torch.bool)
    places = torch.arange(width, device=lines.device)
    for step in range(min(depth, width)):
        here = lines[:, step:] == tokens[:, step, None].to(lines)
        here &= step < sizes[:, None]
        same[:, : width - step] &= here | (places[step:] >= lengths[:, None])
    return same
