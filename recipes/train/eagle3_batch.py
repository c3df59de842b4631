"""What a step of :mod:`.eagle3` reads: answers packed end to end, and attention over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from proposers.train.trainer.batches import Piece
from proposers.train.trainer.data import FeatureFolder


@dataclass(frozen=True)
class Batch:
    """Pieces end to end: ``N`` trained positions and the ``C`` positions that they read.

    Attributes:
        sizes: trained and read positions of each piece.
        rows: ``[N]`` which of the C positions each of them is.
        positions: ``[C]``.
        following: ``[C]`` the tokens after them.
        states: ``[C, 3H]`` before three of the target's layers.
        hidden: ``[C, H]`` after the target's final norm.
    """

    sizes: list[tuple[int, int]]
    rows: Tensor
    positions: Tensor
    following: Tensor
    states: Tensor
    hidden: Tensor


def pack(data: FeatureFolder, pieces: Sequence[Piece], depth: int) -> Batch:
    """Positions whose ``depth`` next drafted tokens the text tells, with all before them."""
    sizes, parts = [], []
    start = 0
    for piece in pieces:
        first, end = piece.first - 1, piece.end - depth
        if end <= first:
            continue
        whole, count = data.rows(piece.sequence), piece.end
        part = {name: whole[name][:count] for name in ("states", "hidden")}
        part["following"] = whole["tokens"][1 : count + 1].long()
        part["rows"] = torch.arange(first, end) + start
        parts.append(part | {"positions": torch.arange(count)})
        sizes.append((end - first, count))
        start += count
    return Batch(sizes, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    own: Sequence[tuple[Tensor, Tensor]],
    batch: Batch,
) -> Tensor:
    """Each row reads the positions up to its own, and the steps drafted from it.

    Args:
        query: ``[N, heads, d]``. keys, values: ``[C, kv_heads, d]``.
        own: keys and values ``[N, kv_heads, d]`` of each step.
    """
    queries, contexts = zip(*batch.sizes, strict=True)
    at = batch.positions[batch.rows].split(queries)
    steps = [pair for step in own for pair in step]
    drafted = list(zip(*(t.split(queries) for t in steps), strict=True)) or [()] * len(queries)
    each = zip(
        query.split(queries), keys.split(contexts), values.split(contexts), at, drafted, strict=True
    )
    return torch.cat([_attend(*one) for one in each])


def _attend(q: Tensor, k: Tensor, v: Tensor, at: Tensor, drafted: Sequence[Tensor]) -> Tensor:
    seen = torch.arange(len(k))[None] <= at[:, None]
    same = torch.eye(len(q), dtype=torch.bool)
    mask = torch.cat([seen] + [same] * (len(drafted) // 2), 1)
    k, v = torch.cat([k, *drafted[::2]]), torch.cat([v, *drafted[1::2]])
    q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    return out[0].transpose(0, 1)
