"""Finding the last n-gram of a text again in the text itself, for a whole batch, on the device.

A continuation that reaches the end of the text goes on with its own beginning, as a lookup behind
that end would: what is repeated over and over is told to any depth. Other texts
(:class:`.memory.Others`) are searched as if they stood in front of it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from . import kernels, lookup_triton, native
from .base import DraftContext
from .memory import LEAST, NOTHING, Others

SOURCE = Path(native.__file__).with_name("lookup.cpp")
NAMES = {torch.int32: "look_up_int32", torch.int64: "look_up_int64"}


@dataclass(frozen=True)
class Continuations:
    """What followed the last n-gram before, ``C`` distinct continuations of up to ``D`` tokens.

    Attributes:
        tokens: ``[B, C, D]`` int64.
        sizes: ``[B, C]`` how many of them are tokens; 0: nothing was found.
        agreed: ``[B]`` the longest n-gram that was found, at least 1; one less where another's
            text has it, which tells as much as one less in a text's own: on 116 answers the next
            token held with 0.30, 0.42, 0.46 and 0.73 after 2 to 5, in the own with 0.24, 0.53,
            0.66, 0.70 and 0.73 after 1 to 5.
    """

    tokens: Tensor
    sizes: Tensor
    agreed: Tensor


def continuations(
    context: DraftContext, ngrams: range, count: int, depth: int, others: Others | None = None
) -> Continuations:
    """The first ``count`` distinct continuations, after the longest match first, then the latest.

    Args:
        ngrams: lengths of suffix that are looked for, falling.
        depth: the most tokens of a continuation.
        others: texts that are searched beside each request's own.
    """
    if count == 1:
        if kernels.runs_on(context.lengths.device):
            return Continuations(*lookup_triton.look_up(context, ngrams, depth, others))
        alone = None if context.static else _by_kernel(context, ngrams, depth, others)
        if alone is not None:
            return alone
    lines, lengths, apart = context.lines(), context.lengths, 0
    if others is not None:
        before = others.lines.masked_fill(~others.seen[:, :, None], NOTHING).flatten(1)
        lines = torch.cat([before, lines], 1)
        apart = before.shape[1]
        lengths = lengths + apart
    width, steps = lines.shape[1], torch.arange(depth, device=lines.device)
    ranks = _ranks(lines, lengths, ngrams)
    ranks[:, :apart].masked_fill_(ranks[:, :apart] < LEAST * width, -1)
    tokens, sizes, tops = [], [], []
    for branch in range(count):
        best, end = ranks.max(1, keepdim=True)
        period = (lengths[:, None] - end).clamp(min=1)
        found = lines.gather(1, end + steps % period).long()
        size = torch.where(best < 0, 0, depth)
        if others is not None:
            size = size.minimum((found != NOTHING).cumprod(1).sum(1, keepdim=True))
        sizes.append(size[:, 0])
        tokens.append(found)
        tops.append(best[:, 0])
        if branch + 1 < count:
            told = _tells_the_same(lines, lengths, tokens[-1], sizes[-1])
            ranks = ranks.masked_fill(told | (best < 0), -1)
    top = tops[0]
    longest = (top // width - (top % width < apart).long()).clamp(min=1)
    return Continuations(torch.stack(tokens, 1), torch.stack(sizes, 1), longest)


def _by_kernel(
    context: DraftContext, ngrams: range, depth: int, others: Others | None
) -> Continuations | None:
    """The same of one continuation, on a CPU; None where there is no kernel for these texts."""
    texts, rows, lengths = context.token_ids, context.rows, context.lengths
    fits = texts.device.type == "cpu" and texts.dtype in NAMES and texts.stride(1) == 1
    library = native.library(SOURCE) if fits else None
    if library is None:
        return None
    tokens = torch.empty(len(rows), 1, depth, dtype=torch.int64)
    sizes, agreed = torch.empty(len(rows), 1, dtype=torch.int64), torch.empty_like(rows)
    others = others or Others(tokens[:0, 0], torch.empty(len(rows), 0, dtype=torch.bool))
    lines, seen = others.lines, others.seen.contiguous()
    rows, lengths = rows.contiguous(), lengths.contiguous()
    numbers = (len(rows), ngrams[0], ngrams[-1], LEAST, depth)
    kernel = getattr(library, NAMES[texts.dtype])
    kernel(
        *(_pointer(texts), ctypes.c_int64(texts.stride(0)), _pointer(lines)),
        *(ctypes.c_int64(number) for number in (len(lines), lines.stride(0))),
        *(_pointer(each) for each in (seen, rows, lengths)),
        *(ctypes.c_int64(number) for number in numbers),
        *(_pointer(each) for each in (tokens, sizes, agreed)),
    )
    return Continuations(tokens, sizes, agreed)


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _ranks(lines: Tensor, lengths: Tensor, ngrams: range) -> Tensor:
    """``[B, L]``: the more of the last tokens stand before a place, the higher, then the later the
    place; -1 where it is not a match. A rank over ``L`` is the tokens that agree."""
    agreed = _agreement(lines, lengths, ngrams[0])
    ends = torch.arange(lines.shape[1], device=lines.device)
    found = (agreed >= ngrams[-1]) & (ends < lengths[:, None]) & (lines != NOTHING)
    return torch.where(found, agreed * lines.shape[1] + ends, -1)


def _agreement(lines: Tensor, lengths: Tensor, longest: int) -> Tensor:
    """``[B, L]`` int64: how many tokens before each place are the last ones of the text, of
    ``longest``.

    A text shorter than an n-gram agrees nowhere: its last tokens begin with copies of its first,
    which no place has before it.
    """
    back = torch.arange(-longest, 0, device=lines.device)
    last = lines.gather(1, (lengths[:, None] + back).clamp(min=0))
    before = F.pad(lines, (longest, 0), value=-1).unfold(1, longest, 1)[:, :-1]
    same = ((before == last[:, None]) & (last != NOTHING)[:, None]).flip(2)
    return same.cumprod(2, dtype=torch.int8).sum(2)


def _tells_the_same(lines: Tensor, lengths: Tensor, tokens: Tensor, sizes: Tensor) -> Tensor:
    """``[B, L]``: what follows each place, as far as it goes, is the start of ``tokens [B, D]``."""
    depth, width = tokens.shape[1], lines.shape[1]
    same, ended = torch.ones_like(lines, dtype=torch.bool), lines == NOTHING
    ended |= torch.arange(width, device=lines.device) >= lengths[:, None]
    over = torch.zeros_like(ended)
    for step in range(min(depth, width)):
        there = slice(0, width - step)
        over[:, there] |= ended[:, step:]
        here = lines[:, step:] == tokens[:, step, None].to(lines)
        same[:, there] &= here & (step < sizes[:, None]) | over[:, there]
    return same
