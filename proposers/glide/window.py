"""The draft's self-attention window: constant memory, never saved, always recomputable.

Self-attention's keys and values depend on a token and its position alone (every block makes them
from embeddings), so a request's window is a ring of ``window + 1`` entries that can be filled from
its last token ids at any time: after a prefix-cache hit, a preemption, a chunked prefill.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

KeysValues = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From token ids ``[n]`` and positions ``[n]`` to K and V, ``[n, kv_heads, head_dim]`` each."""


class Filler(Protocol):
    """A quicker way for few tokens (:class:`.native.NativeGlide`)."""

    def takes(self, rows: int) -> bool: ...

    def fill(
        self, window: SelfAttentionWindow, slots: Tensor, tokens: Tensor, positions: Tensor
    ) -> None: ...


MOST_ROWS = 4096
"""Tokens whose keys and values are made at once, of however many requests: a bound of memory."""


class SelfAttentionWindow:
    """Rings of several requests in one allocation that grows with their number only.

    Args:
        window: tokens before its own that a query sees (LongSpec: 512).
        scratch: entries behind each ring, free for the nodes of a tree that is being grown.
        kv_heads, head_dim: sizes of the draft's self-attention; ``kv_heads`` counts all blocks'.
        filler: writes the entries of few tokens in place of ``keys_values``.
    """

    def __init__(
        self,
        window: int,
        scratch: int,
        kv_heads: int,
        head_dim: int,
        keys_values: KeysValues,
        like: Tensor,
        filler: Filler | None = None,
    ) -> None:
        self.window = window
        self.capacity = window + 1
        self.keys_values, self.filler = keys_values, filler
        self.ring = like.new_zeros(2, 0, kv_heads, self.capacity + scratch, head_dim)
        self.slots: dict[Hashable, int] = {}
        self.lengths: dict[Hashable, int] = {}
        self.free: list[int] = []

    def update(self, requests: Sequence[Hashable], token_ids: Sequence[np.ndarray]) -> Tensor:
        """Bring rings up to each request's last token; return their slots ``[B]``."""
        lacking = [self._lacking(*pair) for pair in zip(requests, token_ids, strict=True)]
        device = self.ring.device
        rows = torch.from_numpy(np.concatenate(lacking, axis=1)).to(device)
        for first in range(0, rows.shape[1], MOST_ROWS):
            self._write(*rows[:, first : first + MOST_ROWS].unbind())
        return torch.tensor([self.slots[request] for request in requests], device=device)

    def entries(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """K and V of the rings, ``[B, kv_heads, capacity + scratch, head_dim]`` each.

        One request gets a view, several a copy: either may be written behind ``capacity``.
        """
        rings = self.ring[:, slots] if len(slots) > 1 else self.ring.narrow(1, int(slots[0]), 1)
        return rings[0], rings[1]

    def forget(self, request: Hashable) -> None:
        """Give a request's ring back."""
        if request in self.slots:
            self.free.append(self.slots.pop(request))
            del self.lengths[request]

    def positions(self, lengths: Tensor) -> Tensor:
        """``[B, capacity]`` position held by each entry; negative where the ring is not full."""
        last = lengths[:, None] - 1
        index = torch.arange(self.capacity, device=lengths.device)
        return last - (last - index) % self.capacity

    def _lacking(self, request: Hashable, tokens: np.ndarray) -> np.ndarray:
        """``[3, n]`` slot, token and position of all that the request's ring lacks."""
        if request not in self.slots:
            if not self.free:
                self._grow()
            self.slots[request] = self.free.pop()
        known, length = self.lengths.get(request, 0), len(tokens)
        self.lengths[request] = length
        # a shorter text than before is another text; recompute all of it
        start = max(length - self.capacity, known if known <= length else 0)
        rows = np.empty((3, length - start), np.int64)
        rows[0], rows[1], rows[2] = self.slots[request], tokens[start:], np.arange(start, length)
        return rows

    def _write(self, slots: Tensor, ids: Tensor, positions: Tensor) -> None:
        """Fill entries with tokens ``[n]`` at ``positions`` of the rings ``slots``."""
        if self.filler is not None and self.filler.takes(len(ids)):
            self.filler.fill(self, slots, ids, positions)
            return
        index = positions % self.capacity
        for ring, values in zip(self.ring, self.keys_values(ids, positions), strict=True):
            ring[slots, :, index] = values

    def _grow(self) -> None:
        count = self.ring.shape[1]
        more = max(count, 4)
        shape = (2, more, *self.ring.shape[2:])
        self.ring = torch.cat([self.ring, self.ring.new_zeros(shape)], dim=1)
        self.free.extend(reversed(range(count, count + more)))
