"""Keys and values of one stack of layers: a Hydra's trunk, or one of its heads.

The offline engine's cache (``proposers.offline.cache``) keeps a tree's rows aside until they are
verified. What a Hydra drafts is a chain: rows are written where they belong at once, and what was
refused is forgotten by a length. Duck-typed as transformers' cache: layers call :meth:`update`.
"""

from __future__ import annotations

import torch
from torch import Tensor


class StackCache:
    """Preallocated K and V of consecutive layers, ``[layers, 2, B, kv_heads, capacity, d]``.

    Attributes:
        length: tokens that all layers hold; the next token goes to this position.
    """

    def __init__(self, first_layer: int, layers: int, shape: tuple[int, ...], like: Tensor) -> None:
        """``shape``: ``(B, kv_heads, capacity, d)``; ``first_layer``: its index in the target."""
        self.storage = torch.empty(layers, 2, *shape, dtype=like.dtype, device=like.device)
        self.first_layer = first_layer
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.storage.shape[-2]

    def check_room(self, batch: int, rows: int) -> None:
        """Refuse what does not fit, before any layer has written.

        Raises:
            ValueError: in one line.
        """
        if batch != self.storage.shape[2]:
            raise ValueError(
                f"a batch of {batch} rows, but the KV cache was made for {self.storage.shape[2]};"
                " call init_kv_cache again"
            )
        if self.length + rows > self.capacity:
            raise ValueError(
                f"{rows} tokens behind {self.length} pass the KV cache's {self.capacity};"
                " call init_kv_cache with a greater max_length"
            )

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write a layer's new rows ``[B, kv_heads, T, d]``; K and V of all its tokens come back."""
        end = self.length + keys.shape[2]
        layer = self.storage[layer_idx - self.first_layer]
        layer[0, :, :, self.length : end] = keys
        layer[1, :, :, self.length : end] = values
        return layer[0, :, :, :end], layer[1, :, :, :end]

    def advance(self, rows: int) -> None:
        """All layers have written ``rows`` tokens."""
        self.length += rows

    def roll_back(self, length: int) -> None:
        """Keep at most the first ``length`` tokens."""
        if length < 0:
            raise ValueError(f"roll_back to {length} tokens: expected 0 or more")
        self.length = min(self.length, length)
