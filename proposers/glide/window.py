"""The draft's self-attention window: constant memory, never saved, always recomputable.

Self-attention's keys and values depend on a token and its position alone (every block makes them
from embeddings), so a request's window is a ring of ``window + 1`` entries that can be filled from
its last token ids at any time: after a prefix-cache hit, a preemption, a chunked prefill.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ..base import DraftContext

KeysValues = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From token ids ``[n]`` and positions ``[n]`` to K and V, ``[n, kv_heads, head_dim]`` each."""


class Filler(Protocol):
    """A quicker way, where it takes so many tokens (:attr:`.model.GlideDraft.quick`)."""

    def takes(self, rows: int, static: bool) -> bool: ...

    def fill(
        self, window: SelfAttentionWindow, slots: Tensor, tokens: Tensor, positions: Tensor
    ) -> None: ...


MOST_ROWS = 4096
"""Tokens whose keys and values are made at once, of however many requests: a bound of memory."""


class SelfAttentionWindow:
    """Rings of several requests in one allocation, a ring a slot.

    Args:
        window: tokens before its own that a query sees (LongSpec: 512).
        scratch: entries behind each ring, free for the nodes of a tree that is being grown.
        kv_heads, head_dim: sizes of the draft's self-attention; ``kv_heads`` counts all blocks'.
        filler: writes the entries of the tokens that it takes in place of ``keys_values``.
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

    def reserve(self, slots: int) -> None:
        """Make room for so many slots; rings that are there keep what they hold."""
        missing = slots - self.ring.shape[1]
        if missing > 0:
            missing = max(missing, min(self.ring.shape[1], 64))
            more = self.ring.new_zeros(2, missing, *self.ring.shape[2:])
            self.ring = torch.cat([self.ring, more], dim=1) if self.ring.numel() else more

    def fill(self, context: DraftContext) -> None:
        """Make the rings of all requests of ``context`` anew."""
        longest = context.token_ids.shape[1]
        if not context.static and len(context.slots):  # what rings lack of room, tokens of text
            self.reserve(int(context.slots.max()) + 1)
            longest = int(context.lengths.max())
        self._write(context, min(self.capacity, longest))

    def update(self, context: DraftContext) -> None:
        """Bring rings up to each request's last token.

        The last ``most_new`` tokens are written again, however many of them are new: the same
        values go to the same places, and shapes do not depend on how many were accepted.
        """
        self._write(context, min(self.capacity, context.most_new))

    def entries(self, slots: Tensor, static: bool) -> tuple[Tensor, Tensor]:
        """K and V of the rings, ``[B, kv_heads, capacity + scratch, head_dim]`` each.

        A copy, or for one request a view where its slot may be read; either may be written behind
        ``capacity``.
        """
        one = len(slots) == 1 and not static
        rings = self.ring.narrow(1, int(slots[0]), 1) if one else self.ring[:, slots]
        return rings[0], rings[1]

    def positions(self, lengths: Tensor) -> Tensor:
        """``[B, capacity]`` position held by each entry; negative where the ring is not full."""
        last = lengths[:, None] - 1
        index = torch.arange(self.capacity, device=lengths.device)
        return last - (last - index) % self.capacity

    def _write(self, context: DraftContext, count: int) -> None:
        tokens, positions = context.recent(count)
        slots = context.slots[:, None].expand(-1, count)
        rows = [part.flatten() for part in (slots, tokens, positions)]
        for first in range(0, len(rows[0]), MOST_ROWS):
            part = [row[first : first + MOST_ROWS] for row in rows]
            if self.filler is not None and self.filler.takes(len(part[0]), context.static):
                self.filler.fill(self, *part)
            else:
                self._write_rows(*part)

    def _write_rows(self, slots: Tensor, ids: Tensor, positions: Tensor) -> None:
        """Fill entries with tokens ``[n]`` at ``positions`` of the rings ``slots``."""
        index = positions % self.capacity
        for ring, values in zip(self.ring, self.keys_values(ids, positions), strict=True):
            ring[slots, :, index] = values
