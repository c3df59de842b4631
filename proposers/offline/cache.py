"""The target's keys and values: verified tokens in one allocation, a tree's beside it.

A tree's K and V are not written to the cache before they are verified: each layer hands them over,
and :meth:`KVCache.accept` copies the accepted path, all layers in one gather. Feeding the accepted
tokens to the next forward once more (as the public reference does) costs a row of the target each;
``recipes/offline/kv.py`` measures both, docs/offline.md has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class KVCache:
    """K and V of ``B`` requests, ``[layers, 2, B, kv_heads, capacity, d]``.

    Duck-typed as a transformers cache: models call :meth:`update`, and before transformers 5
    :meth:`get_seq_length`.

    Attributes:
        lengths: verified tokens of each request; its next row goes to this position.
    """

    def __init__(
        self, layers: int, batch: int, kv_heads: int, capacity: int, head_dim: int, like: Tensor
    ) -> None:
        # zeros: what a bias hides is still multiplied by 0, which NaN would survive
        self.storage = like.new_zeros(layers, 2, batch, kv_heads, capacity, head_dim)
        self.lengths = [0] * batch
        self.held: list[Tensor] = []

    def update(
        self, keys: Tensor, values: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """A forward's own K and V, given back: our attention decides what becomes of them."""
        return keys, values

    def get_seq_length(self, *_: object) -> int:
        return max(self.lengths)

    def prefix(self, layer: int, extra: int = 0) -> tuple[Tensor, Tensor]:
        """K and V up to the longest request (``extra`` more): ``[B, kv_heads, S, d]`` each."""
        keys, values = self.storage[layer, :, :, :, : max(self.lengths) + extra]
        return keys, values

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keep a prompt's rows ``[B, kv_heads, P, d]``; padding will be overwritten."""
        for part, rows in zip(self.storage[layer], (keys, values), strict=True):
            part[:, :, : rows.shape[2]] = rows

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write each request's one row behind its verified tokens, before it is attended to."""
        if len(self.lengths) == 1:  # a view: no index to make
            for part, rows in zip(self.storage[layer], (keys, values), strict=True):
                part[0, :, self.lengths[0]] = rows[0, :, 0]
            return
        request = torch.arange(len(self.lengths), device=self.storage.device)
        at = torch.tensor(self.lengths, device=self.storage.device)
        for part, rows in zip(self.storage[layer], (keys, values), strict=True):
            part[request, :, at] = rows[:, :, 0]

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Keep a layer's tree rows ``[B, kv_heads, W, d]`` until they are verified."""
        self.held += (keys, values)

    def accept(self, rows: Sequence[Sequence[int]]) -> None:
        """Keep the rows of each request's accepted path, the root's first."""
        if self.held:  # else single rows, which are in their places already
            stacked = torch.stack(self.held)
            flat = self.storage.flatten(0, 1)  # a view: layers and K/V are outermost
            for b, path in enumerate(rows):
                index = torch.tensor(path, device=stacked.device)
                start = self.lengths[b]
                flat[:, b, :, start : start + len(path)] = stacked[:, b].index_select(2, index)
        self.lengths = [n + len(path) for n, path in zip(self.lengths, rows, strict=True)]
        self.held = []

    def keep(self, order: Sequence[int]) -> None:
        """Request ``order[i]``, at least ``i``, becomes request ``i``; the others are dropped."""
        for new, old in enumerate(order):
            if new != old:
                length = self.lengths[old]
                self.storage[:, :, new, :, :length] = self.storage[:, :, old, :, :length]
        self.storage = self.storage[:, :, : len(order)]
        self.lengths = [self.lengths[old] for old in order]
