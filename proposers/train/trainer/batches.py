"""Training batches: pieces of sequences packed end to end, without padding."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .data import TOP, FeatureFolder, Sequence


@dataclass(frozen=True)
class Piece:
    """The trained positions ``first`` to ``end - 1`` of a sequence."""

    sequence: Sequence
    first: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class Batch:
    """``P`` pieces packed end to end: ``N`` trained positions, ``T`` tokens, ``C`` cached ones.

    A piece brings the tokens that its positions' windows reach, and the target's cache from the
    sequence's beginning; positions count from there.

    Attributes:
        sizes: trained positions, tokens and cached tokens of each piece, ``[P]`` each.
        positions: ``[N]`` in their sequences.
        rows: ``[N]`` which of the T tokens each of them is.
        tokens, places: ``[T]`` ids and rotary positions.
        token_positions: ``[T]`` in their sequences.
        following: ``[N]`` the text's next token.
        hidden: ``[T, H]`` the target's states after these tokens.
        cache_positions: ``[C]`` in their sequences.
        keys, values: ``[C, kv_heads, head_dim]`` the target's cache.
        top_tokens, top_logits: ``[N, k]``, log_norm: ``[N]``; None where the features have none.
    """

    sizes: tuple[list[int], list[int], list[int]]
    positions: Tensor
    rows: Tensor
    tokens: Tensor
    places: Tensor
    token_positions: Tensor
    following: Tensor
    hidden: Tensor
    cache_positions: Tensor
    keys: Tensor
    values: Tensor
    top_tokens: Tensor | None = None
    top_logits: Tensor | None = None
    log_norm: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return Batch(**{**values, **tensors})


def pack(data: FeatureFolder, pieces: list[Piece], reach: int) -> Batch:
    """Lay pieces end to end; each position's window reaches ``reach`` tokens back."""
    parts: dict[str, list[Tensor]] = {}
    sizes: tuple[list[int], list[int], list[int]] = ([], [], [])
    start = 0
    for piece in pieces:
        low = max(0, piece.first - reach)
        for kind, size in zip(sizes, (piece.size, piece.end - low, piece.end), strict=True):
            kind.append(size)
        own = _piece(data, piece, low)
        own["rows"] = own["positions"] - low + start
        start += piece.end - low
        for name, rows in own.items():
            parts.setdefault(name, []).append(rows)
    return Batch(sizes, **{name: torch.cat(rows) for name, rows in parts.items()})


def _piece(data: FeatureFolder, piece: Piece, low: int) -> dict[str, Tensor]:
    rows, first, end = data.rows(piece.sequence), piece.first, piece.end
    return {
        "positions": torch.arange(first, end),
        "tokens": rows["tokens"][low:end].long(),
        "places": piece.sequence.places(low, end),
        "token_positions": torch.arange(low, end),
        "following": rows["tokens"][first + 1 : end + 1].long(),
        "hidden": rows["hidden"][low:end],
        "cache_positions": torch.arange(end),
        "keys": rows["keys"][:end],
        "values": rows["values"][:end],
        **{name: rows[name][first:end] for name in TOP if name in rows},
    }


def cut(sequences: Iterable[Sequence], batch_tokens: int) -> list[Piece]:
    """Each sequence in as few pieces of like size as fit a batch."""
    pieces = []
    for s in sequences:
        count = -(-s.queries // batch_tokens)
        bounds = [s.first + s.queries * i // count for i in range(count + 1)]
        pieces += [Piece(s, *pair) for pair in pairwise(bounds)]
    return pieces


def epoch(sequences: list[Sequence], batch_tokens: int, seed: int) -> list[list[Piece]]:
    """All pieces in an order drawn by ``seed``, in groups of at most ``batch_tokens``."""
    pieces = cut(sequences, batch_tokens)
    random.Random(seed).shuffle(pieces)
    groups: list[list[Piece]] = [[]]
    size = 0
    for piece in pieces:
        if size + piece.size > batch_tokens:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += piece.size
    return groups
