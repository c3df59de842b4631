"""The latest of the longest matches by two Triton kernels: each token is read once, none is copied.

In plain torch it is some twenty operators over as many elements as there are tokens, times the
longest n-gram.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import DraftContext
from .kernels import jit, require_triton, tl, triton
from .memory import LEAST, NOTHING, Others

BLOCK = 1024
"""Places of a program."""


def look_up(
    context: DraftContext, ngrams: range, depth: int, others: Others | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens ``[B, 1, D]``, sizes ``[B, 1]`` and agreement ``[B]`` of
    :func:`.lookup.continuations` for one continuation; nothing is read back.

    Raises:
        ImportError: Triton is not installed.
    """
    require_triton("look_up")
    texts, rows = context.token_ids, context.rows
    batch, device = len(rows), rows.device
    tokens = torch.zeros(batch, 1, depth, dtype=torch.int64, device=device)
    sizes, agreed = torch.zeros(2, batch, dtype=torch.int64, device=device)
    best = torch.full((batch,), -1, dtype=torch.int32, device=device)
    others = others or Others(tokens[:0, 0], torch.empty(batch, 0, dtype=torch.bool, device=device))
    table, seen = others.lines, others.seen.contiguous()
    places = table.numel() + texts.shape[1]
    given = (texts, rows, context.lengths, table, texts.stride(0), table.stride(0))
    sides = (table.numel(), table.shape[1], places)
    if batch:
        with torch.cuda.device_of(rows):  # Triton launches on the current device
            _find[batch, triton.cdiv(places, BLOCK)](
                *given, best, seen, *sides, *(len(table), ngrams[0], ngrams[-1]),
                block=BLOCK, nothing=NOTHING, least=LEAST,
            )  # fmt: skip
            _tell[batch,](
                *given, best, *(tokens, sizes, agreed), *sides, depth,
                levels=triton.next_power_of_2(depth), nothing=NOTHING,
            )  # fmt: skip
    return tokens, sizes[:, None], agreed


@jit()
def _token(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    text, others, others_stride, before, width, place, real, nothing: tl.constexpr
):  # fmt: skip
    """What stands at places of the others' lines and then the text's, one after the other."""
    own = place >= before
    other = tl.where(own, 0, place)
    there = others + (other // width).to(tl.int64) * others_stride + other % width
    token = tl.load(there, mask=real & ~own, other=nothing)
    mine = tl.load(text + place - before, mask=real & own, other=nothing).to(tl.int64)
    return tl.where(own, mine, token)


@jit("texts_stride", "others_stride", "before", "width", "places", "count", "longest", "shortest")
def _find(  # type: ignore[no-untyped-def]
    texts, rows, lengths, others, texts_stride, others_stride, best, seen,
    before, width, places, count, longest, shortest,
    block: tl.constexpr, nothing: tl.constexpr, least: tl.constexpr,
):  # fmt: skip
    """Program ``(request, block of places)``: how many tokens before each place are the text's
    last. Of the best the greater rank counts: more tokens, then the later place.

    Of places in others' lines it looks at those that are seen. Before the first of a line stands
    the end of another, where no agreement goes on."""
    request = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + request).to(tl.int32)
    end = tl.program_id(1) * block + tl.arange(0, block)
    if tl.program_id(1) * block < before + length:
        text = texts + tl.load(rows + request).to(tl.int64) * texts_stride
        real, other = (end > 0) & (end < before + length), end < before
        line = seen + request * count + end // width
        real &= ~other | (tl.load(line, mask=real & other, other=0) != 0)
        here = _token(text, others, others_stride, before, width, end, real, nothing)
        same = real & (here != nothing)
        agreed = tl.zeros([block], tl.int32)
        steps = tl.where(tl.max(same.to(tl.int32), 0) > 0, longest, 0)
        for back in range(1, steps + 1):
            last = tl.load(text + length - back, mask=length >= back, other=nothing - 1)
            at, near = end - back, same & (end >= back)
            there = _token(text, others, others_stride, before, width, at, near, nothing)
            same = near & (there == last.to(tl.int64))
            agreed += same.to(tl.int32)
        enough = agreed >= tl.where(other, tl.maximum(shortest, least), shortest)
        rank = tl.max(tl.where(enough, agreed * places + end, -1), 0)
        if rank >= 0:
            tl.atomic_max(best + request, rank)


@jit("texts_stride", "others_stride", "before", "width", "places", "depth")
def _tell(  # type: ignore[no-untyped-def]
    texts, rows, lengths, others, texts_stride, others_stride, best, tokens, sizes, agreed,
    before, width, places, depth,
    levels: tl.constexpr, nothing: tl.constexpr,
):  # fmt: skip
    """Program ``request``: what followed the best place."""
    request = tl.program_id(0).to(tl.int64)
    rank = tl.load(best + request)
    level = tl.arange(0, levels)
    if rank >= 0:
        length = tl.load(lengths + request).to(tl.int32)
        text = texts + tl.load(rows + request).to(tl.int64) * texts_stride
        end = rank % places
        at, real = end + level % (before + length - end), level < depth
        token = _token(text, others, others_stride, before, width, at, real, nothing)
        first = tl.min(tl.where(real & (token == nothing), level, depth), 0)
        tl.store(tokens + request * depth + level, token, mask=level < first)
        tl.store(sizes + request, first.to(tl.int64))
    told = rank // places - (rank % places < before).to(tl.int32)
    tl.store(agreed + request, tl.maximum(told, 1).to(tl.int64))
